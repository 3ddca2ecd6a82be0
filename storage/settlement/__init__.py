"""Settlement: what the evidence comes to in money under the contract, so that both parties compute the same.

Read in this order: terms, calendar, contract (what was agreed); counts (what there was, from the ledger);
registers, service, statement (what follows); issue and check (on disk, and by the other party). Money is
whole numbers of 0.0001 yuan, never a float; days and months are those of Asia/Shanghai.
"""
