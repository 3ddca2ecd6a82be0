"""Proofs: what is signed of the evidence, so that nobody can change it unseen, whoever holds the files.

Read in this order: merkle (the mathematics), tiles (the tree on disk), note and checkpoint (what is signed),
checkpoints, notary (grows and signs), witness and cosigned (the other party), proof (one message),
verify_tree (all of it, offline). The formats are those of C2SP, and stand in docs/evidence-format.md.
"""
