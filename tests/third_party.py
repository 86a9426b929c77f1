"""Warnings of other people's code that no code here can avoid: each with its reason."""

import pytest

FILTERS = (
    # ibis 12.0 calls the method that duckdb 1.5 renamed
    "ignore:fetch_arrow_table:DeprecationWarning",
    # MLflow 3.17 configures a relation with the loader that SQLAlchemy 2.1 deprecates
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning",
    # MLflow 3.17 warns of the type hints of its own classes when mlflow.pyfunc is imported
    "ignore:.*Any type hint is inferred as AnyType:UserWarning",
    # Great Expectations 1.20 imports modules that Python 3.11 deprecates
    "ignore:module 'sre_(constants|parse|compile)' is deprecated:DeprecationWarning",
)
IGNORED = [pytest.mark.filterwarnings(each) for each in FILTERS]
