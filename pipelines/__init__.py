"""The DiffusionPipeline subclasses, installed as `anyviews.pipelines`."""
