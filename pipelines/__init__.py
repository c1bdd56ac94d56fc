"""The DiffusionPipeline subclasses, installed as `anyviews.pipelines`."""

from anyviews.diffusers_registry import register_with_diffusers

from .pipeline_mvgd import MVGDPipeline, MVGDPipelineOutput


__all__ = ["MVGDPipeline", "MVGDPipelineOutput"]

register_with_diffusers()
