"""Training and evaluation data: the sample schema, parquet shards, streaming, and the procedural world."""

from .open import open_samples
from .samples import Sample, derive_seed


__all__ = ["Sample", "derive_seed", "open_samples"]
