"""An auditor of its own, of the standard library alone and from the documents of the format.

Nothing here was written with a look at `storage`, `gateway` or `protocol`: what it finds is what anybody
finds who has docs/evidence-format.md, docs/statement-format.md, the contract and the table of status codes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.auditor import causes, contract, months
from tests.auditor import statement as statement_of
from tests.auditor.evidence import Evidence, Findings
from tests.auditor.wrong import Wrong

__all__ = ["Evidence", "Findings", "Wrong", "audit", "canonical", "compute", "statement"]


def audit(evidence: Path, proofs: Path, key: str, witnesses: Sequence[str] = ()) -> Findings:
    """Check the log against itself and against its proofs."""
    return Evidence.read(evidence, proofs, key, witnesses).findings


def compute(
    evidence: Evidence, contract_file: Path, codes: Path, first_month: str, last_month: str
) -> dict[str, Any]:
    """A statement from evidence that has been read."""
    terms = contract.read(contract_file, months.first_day(first_month))
    cut, checkpoint, final = evidence.cut(last_month, terms.settlement["cutoff_hours"])
    rows = causes.read(codes)
    made = statement_of.make(evidence.records, cut, terms, rows, first_month, last_month)
    written = terms.written["contract"]
    return {
        **made,
        "format": "jingxin-statement-1",
        "final": final,
        "period": terms.period(first_month, last_month),
        "contract": written["title"],
        "contract_number": written.get("number", ""),
        "party_a": written["party_a"],
        "party_b": written["party_b"],
        "categories": terms.written["categories"],
        "unit": terms.billing["unit"],
        "price_mt": terms.price_mt,
        "price_mo": terms.price_mo,
        "tax_included": terms.billing["tax_included"],
        "evidence": {
            "log": evidence.name,
            "identity": evidence.log.identity.hex(),
            "records": cut.records,
            "root": base64.b64encode(checkpoint.root).decode(),
            "known_before": months.shown(cut.known_before_us),
            "known_before_us": cut.known_before_us,
        },
        "sources": [
            {"name": "contract", "sha256": terms.digest.hex()},
            {"name": "status codes", "sha256": hashlib.sha256(codes.read_bytes()).hexdigest()},
        ],
        "terms": terms.shown(),
    }


def statement(
    evidence: Path,
    proofs: Path,
    key: str,
    contract_file: Path,
    codes: Path,
    first_month: str,
    last_month: str,
) -> dict[str, Any]:
    """The whole statement from the raw records."""
    return compute(Evidence.read(evidence, proofs, key), contract_file, codes, first_month, last_month)


def canonical(made: dict[str, Any]) -> bytes:
    """The octets of `statement.json`."""
    text = json.dumps(made, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode() + b"\n"
