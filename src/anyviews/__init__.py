"""Feed-forward 3D from photos as ordinary Hugging Face models and pipelines.

Every public name is resolved on first use, so `import anyviews` costs little beyond torch.
"""

from importlib import import_module


__version__ = "0.1.0"

_PUBLIC = {
    "Cameras": "anyviews.cameras",
    "Views": "anyviews.views",
    "CropRecord": "anyviews.views",
    "Scene": "anyviews.scene",
    "PointCloud": "anyviews.scene",
    "Gaussians": "anyviews.gaussians",
    "Material": "anyviews.mesh",
    "Mesh": "anyviews.mesh",
    "Environment": "anyviews.environment",
    "GaussianRender": "anyviews.rendering.gaussians",
    "render_gaussians": "anyviews.rendering.gaussians",
    "render_normals": "anyviews.rendering.gaussians",
    "relight": "anyviews.rendering.shading",
    "find_foreground": "anyviews.foreground",
    "Era3DPixelAutoencoder": "anyviews.models.era3d",
    "Era3DPrompts": "anyviews.models.era3d",
    "Era3DUNetModel": "anyviews.models.era3d",
    "Era3DPipeline": "anyviews.pipelines",
    "Era3DPipelineOutput": "anyviews.pipelines",
    "LGMConfig": "anyviews.models.lgm",
    "LGMModel": "anyviews.models.lgm",
    "LGMOutput": "anyviews.models.lgm",
    "LIRMAsset": "anyviews.pipelines",
    "LIRMConfig": "anyviews.models.lirm",
    "LIRMImageProcessor": "anyviews.models.lirm",
    "LIRMModel": "anyviews.models.lirm",
    "LIRMOutput": "anyviews.models.lirm",
    "LIRMPipeline": "anyviews.pipelines",
    "LIRMState": "anyviews.models.lirm",
    "MVBoostPipeline": "anyviews.pipelines",
    "MVBoostPipelineOutput": "anyviews.pipelines",
    "MVDust3rPlusConfig": "anyviews.models.mvdust3r",
    "MVDust3rPlusImageProcessor": "anyviews.models.mvdust3r",
    "MVDust3rPlusModel": "anyviews.models.mvdust3r",
    "MVDust3rPlusOutput": "anyviews.models.mvdust3r",
    "MVDust3rPlusPipeline": "anyviews.pipelines",
    "MVDust3rPlusPipelineOutput": "anyviews.pipelines",
    "MVGDTransformerModel": "anyviews.models.mvgd",
    "MVGDImageEncoder": "anyviews.models.mvgd",
    "MVGDPipeline": "anyviews.pipelines",
    "MVGDPipelineOutput": "anyviews.pipelines",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'anyviews' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
