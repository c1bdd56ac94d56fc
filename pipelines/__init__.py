"""The DiffusionPipeline subclasses, installed as `anyviews.pipelines`."""

from anyviews.diffusers_registry import register_with_diffusers

from .output_mvgd import MVGDPipelineOutput
from .pipeline_mvgd import MVGDPipeline


__all__ = ["MVGDPipeline", "MVGDPipelineOutput"]

register_with_diffusers()
