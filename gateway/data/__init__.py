"""Data that ships with the gateway, read through `importlib.resources`.

`msisdn_segments.csv`: which prefix of a Chinese mobile number belongs to which carrier. Columns: `prefix`
(digits without the country code), `length` (digits of the whole number), `carrier`, `kind`, `source`.
`MIIT2023` is the table of the Ministry of Industry and Information Technology dated 2023-06-05, state of
March 2023.

`status_codes.csv`: what carriers' statuses mean. Columns: `carrier` (a network, `platform`, `any`, `smpp` for
command statuses, two of the native protocols), `code` (a pattern of fnmatch), `class` (the cause), `sub`,
`retry` (no, later, now, alt, park), `conf` (high, med, low), `meaning`. How it is read: gateway/outcomes.py.
"""
