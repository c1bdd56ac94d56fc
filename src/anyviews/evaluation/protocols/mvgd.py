"""Protocols of MVGD: held-out rooms, posed photos, and the paper's stereo view synthesis and depth."""

from .protocol import Protocol, Ranking, Table
from .sources import PosedFolders, Procedural, PublicDataset


IMAGE_AND_DEPTH = ("psnr", "ssim", "absrel", "delta1.25")
RANKING = Ranking("quality", "10 steps, mean of 5", "psnr")
BASELINES = ("nearest context view", "mean colour", "constant depth of training rooms")

PROCEDURAL = Protocol(
    name="procedural",
    method="mvgd",
    version=1,
    title="Held-out procedural rooms, 3 context views",
    # half of the rooms are walks in order: shuffled, so that targets lie among the context views as in training
    source=Procedural("room", views=12, shuffle="novel views", context_from=4),
    scenes=16,
    context_views=3,
    view_counts=(1, 2, 3, 5, 8),
    target_views=1,
    joint_targets=4,
    resize_filter="none, rendered at the model's size",
    tables=(
        Table("quality", "held-out rooms, 3 context views", IMAGE_AND_DEPTH),
        Table(
            "joint", "4 targets, 10 steps, one sample", (*IMAGE_AND_DEPTH, "color_disagreement", "depth_disagreement")
        ),
        Table("views", "1 step", IMAGE_AND_DEPTH),
        Table("parallax", "scene scale / median depth", ("absrel", "constant_absrel"), bins=4),
    ),
    ranking=RANKING,
    baselines=BASELINES,
)

POSED = Protocol(
    name="posed",
    method="mvgd",
    version=1,
    title="Folders of photos with cameras, 4 context views",
    source=PosedFolders(),
    scenes=None,
    context_views=4,
    target_views=1,
    tables=(Table("quality", "photos with cameras, 4 context views", IMAGE_AND_DEPTH),),
    ranking=RANKING,
    baselines=BASELINES,
)


def _stereo(name: str, title: str, dataset: PublicDataset, reference: str, columns: tuple[str, ...]) -> Protocol:
    """Two context views, and targets between them."""
    return Protocol(
        name=name,
        method="mvgd",
        version=2,
        title=title,
        source=dataset,
        scenes=None,
        context_views=2,
        target_views=3,
        size=(256, 256),
        tables=(Table("quality", title, columns),),
        ranking=Ranking("quality", "10 steps, mean of 5", columns[0]),
        baselines=BASELINES,
        reference=reference,
    )


PIXELSPLAT = (
    "The published tables use the frame indices of pixelSplat's evaluation; here the frames are spread over each "
    "clip, so that figures are not comparable with them."
)
CLIPS = (
    "Cameras: https://google.github.io/realestate10k/download.html (CC BY 4.0) or https://infinite-nature.github.io "
    "(ACID, CC BY 4.0); frames are extracted from the videos, which belong to their owners, as "
    "frames/<clip>/<time>.png."
)

PROTOCOLS = (
    PROCEDURAL,
    POSED,
    _stereo(
        "realestate10k",
        "RealEstate10K, 2 context views",
        PublicDataset("realestate10k", get=f"Read by the adaptor realestate10k. {CLIPS}"),
        f"MVGD, RealEstate10K, 2 views: PSNR 28.41, SSIM 0.891. {PIXELSPLAT}",
        IMAGE_AND_DEPTH,
    ),
    _stereo(
        "acid",
        "ACID, 2 context views",
        PublicDataset("realestate10k", get=f"Read by the adaptor realestate10k, whose form it has. {CLIPS}"),
        f"MVGD, ACID, 2 views: PSNR 29.98, SSIM 0.875. {PIXELSPLAT}",
        IMAGE_AND_DEPTH,
    ),
    _stereo(
        "scannet-stereo",
        "ScanNet, depth from 2 context views",
        PublicDataset(
            "scannet",
            options=(("selection", "window"), ("stride", 20)),
            get="Read by the adaptor scannet, exported by its SensReader: http://www.scan-net.org (terms of use to be "
            "signed; no commercial use), with scannetv2_test.txt in the folder.",
        ),
        "MVGD, ScanNet stereo depth: AbsRel 0.065, delta < 1.25 0.946. The published pairs are not used, and the "
        "target lies between the context views.",
        ("absrel", "delta1.25", "psnr", "ssim"),
    ),
)
