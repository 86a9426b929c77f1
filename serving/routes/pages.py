"""``/docs`` and ``/docs.json``: the documentation, complete and without anything from elsewhere."""

from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from serving.docs_page import CONTENT_SECURITY_POLICY, docs_page
from serving.openapi import openapi_document
from serving.runtime import Runtime


def add_routes(app: FastAPI, runtime: Runtime) -> None:
    """Add the documentation of a service's models and of all routes."""

    @cache
    def document() -> dict[str, Any]:
        return openapi_document(runtime.specs, app.routes)

    @cache
    def page() -> str:
        return docs_page(document())

    @app.get("/", include_in_schema=False)
    def index() -> RedirectResponse:
        return RedirectResponse("/docs")

    @app.get("/docs", tags=["documentation"], summary="This documentation, to read", response_class=HTMLResponse)
    def docs() -> HTMLResponse:
        """Show every route with its fields, an example to send from the page, and its errors."""
        return HTMLResponse(page(), headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})

    @app.get("/docs.json", tags=["documentation"], summary="This documentation as OpenAPI 3.1")
    def docs_json() -> JSONResponse:
        """Return the OpenAPI document of all routes."""
        return JSONResponse(document())
