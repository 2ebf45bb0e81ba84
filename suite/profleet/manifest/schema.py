"""JSON Schema of the documents, so that editors complete and check manifests as they are typed."""

from __future__ import annotations

from typing import Any

from profleet.manifest.documents import DOCUMENTS
from profleet.manifest.kinds import Kind

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def document_schema(kind: Kind) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a kind of manifest.

    It is what an editor can check; digests, ranges and references are checked on loading.
    """
    schema = DOCUMENTS[kind].model_json_schema(by_alias=True, mode="validation")
    return {"$schema": DIALECT, "$id": f"urn:profleet:schema:{kind}:v1", **schema}
