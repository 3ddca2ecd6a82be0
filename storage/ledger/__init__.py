"""The ledger: the evidence as tables, to search and to count in. All of it can be made again at any time."""
