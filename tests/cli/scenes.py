"""A tiny scene and a tiny untrained checkpoint, and a reader of pages, for the tests of `run` and `demo`."""

from html.parser import HTMLParser
from pathlib import Path

import torch
from torch import nn

from anyviews.data.world import render_world
from anyviews.formats.cameras_json import write_cameras_json
from anyviews.models.mvgd import MVGDImageEncoder, MVGDTransformerModel, default_scheduler
from anyviews.pipelines import MVGDPipeline
from anyviews.views import Views


VIEWS, HEIGHT, WIDTH = 6, 24, 32
# In the size "tiny" the longest side of generated images is 32.
TINY = {
    "num_blocks": 1,
    "num_layers_per_block": 1,
    "num_latents": 8,
    "latent_dim": 32,
    "token_dim": 32,
    "num_attention_heads": 2,
    "image_feature_dim": 16,
    "image_embed_dim": 16,
}


def write_checkpoint(folder: Path) -> Path:
    """An untrained pipeline whose zero heads are random, so that different inputs give different images."""
    torch.manual_seed(0)
    transformer = MVGDTransformerModel.from_size("tiny", **TINY)
    for parameter in transformer.parameters():
        if parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    scheduler = default_scheduler(transformer.config)
    MVGDPipeline(MVGDImageEncoder("conv_stem", 16), transformer, scheduler).save_pretrained(folder)
    return folder


def write_scene(folder: Path) -> Path:
    """A procedural room with depth, as a folder with cameras.json."""
    views = render_world(torch.tensor([7]), VIEWS, HEIGHT, WIDTH, "room", samples=1).scene(0)
    names = tuple(f"{i:02d}" for i in range(VIEWS))
    write_cameras_json(Views(views.images, views.cameras, depths=views.depths, names=names), folder)
    return folder


class Page(HTMLParser):
    """What an HTML page loads and says.

    Args:
        path: the file; it must be well formed: every element that has an end is closed in order.
    """

    ENDLESS = ("meta", "img", "path", "polygon", "polyline")

    def __init__(self, path: Path):
        super().__init__()
        self.sources, self.text, self.tags, self.open = [], "", [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == [], f"{self.open} are not closed"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href", "srcset", "poster", "data")]
        if tag not in self.ENDLESS:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data
