"""The documentation as one HTML page, drawn from the OpenAPI document."""

import base64
import hashlib
import json
from collections import defaultdict
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from serving.openapi import OPEN

DEEPEST = 4


@cache
def _asset(name: str) -> str:
    return files("serving").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; connect-src 'self'; img-src data:; "
    f"style-src '{_hash(_asset('docs.css'))}'; script-src '{_hash(_asset('docs.js'))}'"
)


def docs_page(document: dict[str, Any]) -> str:
    """Draw the page."""
    operations: dict[str, list[tuple[str, str, dict[str, Any]]]] = defaultdict(list)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            operations[operation["tags"][0]].append((method, path, operation))
    schemas = document["components"]["schemas"]
    menu = "".join(
        f"<h2>{escape(tag)}</h2><ul>"
        + "".join(f'<li><a href="#{_anchor(m, p)}">{_badge(m)}<span>{escape(p)}</span></a></li>' for m, p, _ in group)
        + "</ul>"
        for tag, group in operations.items()
    )
    sections = "".join(
        f"<h2 class=tag>{escape(tag)}</h2>" + "".join(_operation(m, p, o, schemas) for m, p, o in group)
        for tag, group in operations.items()
    )
    info = document["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])} · HTTP API</title><style>{_asset('docs.css')}</style></head><body>"
        f"<nav><h1>{escape(info['title'])}</h1>{menu}</nav><main>"
        f"<header><h1>HTTP API</h1><p>{_prose(info['description'])}</p>"
        '<p class="try"><label>API key <input id="key" type="password" placeholder="cfk_…" autocomplete="off">'
        '</label> <span>stays in this page; used by “Send” below</span> <a href="docs.json">OpenAPI document</a></p>'
        f"</header>{sections}</main><script>{_asset('docs.js')}</script></body></html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    parts = [
        f'<section id="{_anchor(method, path)}"><h3>{_badge(method)}<code>{escape(path)}</code>'
        f"{'' if path not in OPEN else '<span class=open>no key needed</span>'}</h3>",
        f"<p class=summary>{_prose(operation.get('summary', ''))}</p>",
        f"<p>{_prose(operation['description'])}</p>" if operation.get("description") else "",
    ]
    if operation.get("parameters"):
        rows = "".join(
            _row(p["name"], p["schema"], schemas, required=p.get("required", False), told=p.get("description", ""))
            for p in operation["parameters"]
        )
        parts.append(f"<h4>Parameters</h4><table>{rows}</table>")
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body:
        example = json.dumps(body["example"], indent=2, ensure_ascii=False)
        parts.append(f"<h4>Body</h4>{_fields(body['schema'], schemas)}")
        key = any(p["name"] == "Idempotency-Key" for p in operation.get("parameters", ()))
        parts.append(
            f'<form data-path="{escape(path)}"{" data-idempotent" if key else ""}>{_path_inputs(operation)}'
            f'<textarea spellcheck="false" rows="{min(24, example.count(chr(10)) + 1)}" aria-label="Example body">'
            f"{escape(example)}</textarea><button>Send</button><pre hidden></pre></form>"
        )
    answer = operation["responses"]["200"].get("content", {}).get("application/json", {})
    if answer.get("example") is not None:
        parts.append(
            f"<h4>Answer</h4>{_fields(answer['schema'], schemas)}"
            f"<pre>{escape(json.dumps(answer['example'], indent=2, ensure_ascii=False))}</pre>"
        )
    problems = [
        f"<li><b>{status}</b> {escape(response['description'])}</li>"
        for status, response in operation["responses"].items()
        if status != "200"
    ]
    if problems:
        parts.append(f"<h4>Problems</h4><ul class=problems>{''.join(problems)}</ul>")
    return "".join(parts) + "</section>"


def _path_inputs(operation: dict[str, Any]) -> str:
    """Draw an input for each part of the path that the sender chooses."""
    return "".join(
        f'<label>{escape(p["name"])} <input name="{escape(p["name"])}" value="{escape(_first_example(p))}"></label> '
        for p in operation.get("parameters", ())
        if p["in"] == "path"
    )


def _first_example(parameter: dict[str, Any]) -> str:
    return str(next(iter(parameter["schema"].get("examples", ())), ""))


def _fields(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    rows = "".join(_rows(schema, schemas, prefix="", depth=0))
    return f"<table>{rows}</table>" if rows else ""


def _rows(schema: dict[str, Any], schemas: dict[str, Any], *, prefix: str, depth: int) -> list[str]:
    target = _resolved(schema, schemas)
    rows: list[str] = []
    for name, part in target.get("properties", {}).items():
        rows.append(_row(prefix + name, part, schemas, required=name in target.get("required", ())))
        if depth < DEEPEST:
            rows += _rows(part, schemas, prefix=f"{prefix}{name}{_suffix(part)}.", depth=depth + 1)
    return rows


def _row(name: str, schema: dict[str, Any], schemas: dict[str, Any], *, required: bool, told: str = "") -> str:
    told = told or schema.get("description", "")
    default = schema.get("default")
    notes = [_prose(told)] if told else []
    if default not in (None, "") and not required:
        notes.append(f"Default <code>{escape(json.dumps(default))}</code>.")
    return (
        f"<tr><td><code>{escape(name)}</code>{'' if required else '<sup>?</sup>'}</td>"
        f"<td class=type>{escape(_type(schema, schemas))}</td><td>{' '.join(notes)}</td></tr>"
    )


def _type(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    if "$ref" in schema:
        return _type(_resolved(schema, schemas), schemas) if _is_plain(schema, schemas) else "object"
    if "anyOf" in schema:
        return " | ".join(_type(part, schemas) for part in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    if schema.get("type") == "array":
        return f"{_type(schema.get('items', {}), schemas)}[]"
    limits = [
        f"{sign} {schema[key]:g}"
        for key, sign in (("minimum", "≥"), ("maximum", "≤"), ("maxLength", "length ≤"))
        if key in schema
    ]
    kind = schema.get("format") or schema.get("type", "any")
    return f"{kind} {', '.join(limits)}".strip()


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Follow references, the first alternative and list items down to the object within."""
    if "$ref" in schema:
        return _resolved(schemas[schema["$ref"].rsplit("/", 1)[1]], schemas)
    if "anyOf" in schema:
        return _resolved(schema["anyOf"][0], schemas)
    if schema.get("type") == "array":
        return _resolved(schema.get("items", {}), schemas)
    return schema


def _is_plain(schema: dict[str, Any], schemas: dict[str, Any]) -> bool:
    return "properties" not in _resolved(schema, schemas)


def _suffix(schema: dict[str, Any]) -> str:
    parts = schema.get("anyOf", [schema])
    return "[]" if any(part.get("type") == "array" for part in parts) else ""


def _anchor(method: str, path: str) -> str:
    return escape(f"{method}{path}".replace("/", "-").replace("{", "").replace("}", ""))


def _badge(method: str) -> str:
    return f'<span class="method {escape(method)}">{escape(method.upper())}</span>'


def _prose(text: str) -> str:
    """Escape, and set what stands between backticks as code."""
    parts = escape(text, quote=False).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
