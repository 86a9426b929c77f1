"""The model registry: MLflow, and the only importer of it."""
