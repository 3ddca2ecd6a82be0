"""Wire protocols, sans-IO: bytes and the time go in, events and bytes come out. Imports nothing of ours."""
