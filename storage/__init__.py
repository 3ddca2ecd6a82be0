"""Evidence: records, their sealing, the append-only log, its reader and its offline check.

Read in this order: records, segment, log, reader, verify; beside them durable (every sync), seal and keys.
The byte format for strangers stands in docs/evidence-format.md.
"""
