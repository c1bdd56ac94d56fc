"""Protocols of MV-DUSt3R+: held-out rooms, posed photos with depth, and the paper's three sets at 4 to 24 views."""

from .protocol import Protocol, Ranking, Table
from .sources import PosedFolders, Procedural, PublicDataset


POINTS = ("error", "nd", "dac@0.2", "dac@0.5")
PAPER_POINTS = ("error", "nd", "cd", "dac@0.2", "dac@0.5")
CAMERAS = ("rra@15", "rta@15", "maa@30", "rotation", "focal_error")
ALIGNMENT = "points: medians at 0, median distance scaled to the reference's; cameras: frame of the first"
RANKING = Ranking("quality", "4 references", "error")
BASELINES = ("constant mean pointmap", "identity poses")

PROCEDURAL = Protocol(
    name="procedural",
    method="mvdust3r",
    version=1,
    title="Held-out procedural rooms, 4 unposed views",
    source=Procedural("room", views=8, shuffle="pointmaps", targets_from=4, metric=True),
    scenes=16,
    context_views=4,
    view_counts=(2, 4, 6, 8),
    target_views=2,
    resize_filter="none, rendered at the model's size",
    mask="pixels of known depth",
    alignment=ALIGNMENT,
    unit="m",
    tables=(
        Table("quality", "held-out rooms, 4 views", (*POINTS, *CAMERAS)),
        Table("views", "all references", (*POINTS, *CAMERAS)),
        Table("rotation", "median rotation between views in degrees", ("error", "nd", "rotation", "rra@15"), bins=4),
        Table("rendering", "2 novel views, 4 photos", ("psnr", "ssim")),
        Table("rooms", "what the rooms are like", ("distance_to_points", "distance_between_cameras")),
    ),
    ranking=RANKING,
    baselines=BASELINES,
)

POSED = Protocol(
    name="posed",
    method="mvdust3r",
    version=1,
    title="Folders of photos with cameras, which the method does not see, 4 views",
    source=PosedFolders(),
    scenes=None,
    context_views=4,
    target_views=0,
    mask="pixels of known depth",
    alignment=ALIGNMENT,
    tables=(Table("quality", "posed photos, 4 views", (*POINTS, *CAMERAS)),),
    ranking=Ranking("quality", "4 references", "rotation"),
    baselines=("identity poses",),
)


def _paper(name: str, title: str, dataset: PublicDataset, reference: str) -> Protocol:
    """4 to 24 given views and six novel ones, at 224 pixels."""
    return Protocol(
        name=name,
        method="mvdust3r",
        version=1,
        title=f"{title}, 4 to 24 views",
        source=dataset,
        scenes=1000,
        context_views=4,
        view_counts=(4, 8, 12, 16, 20, 24),
        target_views=6,
        size=(224, 224),
        mask="pixels of known depth",
        alignment=ALIGNMENT,
        unit="m",
        tables=(
            Table("quality", f"{title}, 4 views", (*PAPER_POINTS, *CAMERAS)),
            Table("views", "all references", (*PAPER_POINTS, *CAMERAS)),
            Table("rendering", "novel views, 4 photos", ("psnr", "ssim")),
        ),
        ranking=RANKING,
        baselines=BASELINES,
        reference=f"{reference} Tables have ND times 10, DAc in percent, CD times 100. The published tuples of views "
        "are not released: figures are comparable in order only.",
    )


HABITAT = (
    "Read by the adaptor habitat: RGB-D tuples of 30 views rendered in Habitat, dps_test.h5 or JSON records. The "
    "scans need a signed agreement and forbid commercial use: "
)

PROTOCOLS = (
    PROCEDURAL,
    POSED,
    _paper(
        "hm3d",
        "HM3D",
        PublicDataset("habitat", between=False, get=f"{HABITAT}https://aihabitat.org/datasets/hm3d."),
        "MV-DUSt3R+ (stage 1), 4 / 12 / 24 views: ND 1.0 / 1.2 / 2.1, DAc 95.2 / 91.5 / 64.5, CD 1.5 / 1.8 / 3.9.",
    ),
    _paper(
        "scannet",
        "ScanNet",
        PublicDataset(
            "scannet",
            between=False,
            options=(("selection", "window"), ("stride", 10), ("views_per_sample", 30)),
            get="Read by the adaptor scannet, exported by its SensReader: http://www.scan-net.org (terms of use to be "
            "signed; no commercial use), with scannetv2_test.txt in the folder.",
        ),
        "MV-DUSt3R+ (stage 1), 4 / 12 / 24 views: ND 0.8 / 1.2 / 1.6, DAc 94.9 / 88.4 / 81.2, CD 1.5 / 1.8 / 1.7.",
    ),
    _paper(
        "mp3d",
        "MP3D (zero-shot)",
        PublicDataset("habitat", between=False, get=f"{HABITAT}https://niessner.github.io/Matterport."),
        "MV-DUSt3R+ (stage 1), 4 / 12 / 24 views: ND 2.2 / 2.6 / 4.3, DAc 68.0 / 55.0 / 26.7, CD 19.9 / 15.1 / 22.0.",
    ),
)
