"""The DiffusionPipeline subclasses, installed as `anyviews.pipelines`; each is loaded on first use."""

from importlib import import_module

from anyviews.diffusers_registry import register_with_diffusers


_PUBLIC = {
    "Era3DPipeline": "pipeline_era3d",
    "Era3DPipelineOutput": "output_era3d",
    "LIRMAsset": "output_lirm",
    "LIRMPipeline": "pipeline_lirm",
    "MVBoostPipeline": "pipeline_mvboost",
    "MVBoostPipelineOutput": "output_mvboost",
    "MVDust3rPlusPipeline": "pipeline_mvdust3r",
    "MVDust3rPlusPipelineOutput": "output_mvdust3r",
    "MVGDPipeline": "pipeline_mvgd",
    "MVGDPipelineOutput": "output_mvgd",
}

__all__ = list(_PUBLIC)

register_with_diffusers()


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'anyviews.pipelines' has no attribute {name!r}")
    return getattr(import_module(f".{_PUBLIC[name]}", __package__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
