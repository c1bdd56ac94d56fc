"""Protocols of MVBoost, from one image: procedural and path traced objects, and Google Scanned Objects."""

from .object_sources import PathTracedObjects
from .protocol import Protocol, Ranking, Table
from .sources import Procedural, PublicDataset


IMAGES = ("psnr", "ssim")
RANKING = Ranking("quality", "boosted", "psnr")
BASELINES = ("input image", "mean colour")

PROCEDURAL = Protocol(
    name="procedural",
    method="mvboost",
    version=2,
    title="Held-out procedural objects, one image",
    source=Procedural("turntable", views=12, targets_from=1),
    scenes=16,
    context_views=1,
    # level views at equal turns: the true ones of those that are generated
    view_counts=(8,),
    # the other level views, and four raised ones
    target_views=11,
    resize_filter="none, rendered at the model's size",
    tables=(
        Table("quality", "held-out objects, one image", IMAGES),
        Table("true views", "LGM of four true views", IMAGES),
        Table("strength", "views after a refinement of strength", IMAGES),
        Table("refined", "LGM (unboosted) of views after a refinement of strength", IMAGES),
    ),
    ranking=RANKING,
    baselines=BASELINES,
)

PBR_OBJECTS = Protocol(
    name="pbr-objects",
    method="mvboost",
    version=1,
    title="Path traced objects, one image",
    source=PathTracedObjects(),
    scenes=None,
    context_views=1,
    target_views=4,
    tables=(Table("quality", "path traced objects, one image", IMAGES),),
    ranking=RANKING,
    baselines=BASELINES,
)

GSO = Protocol(
    name="gso",
    method="mvboost",
    version=1,
    title="Google Scanned Objects, one image",
    source=PublicDataset(
        "google-scanned-objects",
        split="train",
        get="Read by the adaptor google-scanned-objects: IBRNet's renders of Google Scanned Objects (CC BY 4.0), "
        "https://github.com/googleinterns/IBRNet.",
    ),
    scenes=300,
    context_views=1,
    target_views=24,
    size=(512, 512),
    tables=(Table("quality", "objects, one image", IMAGES),),
    ranking=RANKING,
    baselines=BASELINES,
    reference="MVBoost: PSNR 18.561, SSIM 0.859, LPIPS 0.131 (LGM 17.148, 0.776, 0.220). The paper's views, number of "
    "objects and alignment are not known; the order of the methods is the test.",
)

PROTOCOLS = (PROCEDURAL, PBR_OBJECTS, GSO)
