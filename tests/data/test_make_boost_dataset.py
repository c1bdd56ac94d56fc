"""utils/make_boost_dataset.py: generated and refined views of objects, each once, whatever stops the making."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import PartialState
from models.era3d.small_era3d import small_pipeline
from models.lgm.plain_lgm import small_model
from PIL import Image
from script_modules import load_script

from anyviews.data import open_samples
from anyviews.data.boosted import azimuths_of, boosted_views, object_masks, split_boosted
from anyviews.data.samples import Sample
from anyviews.data.unfinished import row_file, stored_rows
from anyviews.data.verification import verify_shards
from anyviews.models.era3d import VIEW_AZIMUTHS
from anyviews.models.lgm import lgm_cameras
from anyviews.pipelines.pipeline_mvboost import MVBoostPipeline
from anyviews.views import Views


COUNT = 5
TINY = {"down_channels": (32, 32), "down_attention": (False, True), "up_channels": (32,), "up_attention": (True,)}
OPTIONS = ("--steps", "2", "--batch-size", "2", "--shards", "2", "--licence", "cc0-1.0")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("mvboost")
    MVBoostPipeline(small_pipeline(), small_model(**TINY)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for i in range(COUNT):
        pixels = generator.integers(0, 255, (32, 32, 4), dtype=np.uint8)
        pixels[..., 3] = 0
        pixels[4:28, 4 + i : 26, 3] = 255
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def script(repository):
    return load_script(repository / "utils" / "make_boost_dataset.py")


def make(script, monkeypatch, photos, output, checkpoint, *extra):
    command = ["make_boost_dataset.py", photos, "-o", output, "--checkpoint", checkpoint, *OPTIONS, *extra]
    monkeypatch.setattr(sys, "argv", [str(word) for word in command])
    script.main()


def read(folder, **options):
    return {sample.key: sample for sample in open_samples(str(folder), **options)}


def test_rows_hold_both_sets_of_views_with_masks_and_lgms_cameras(script, monkeypatch, photos, checkpoint, tmp_path):
    make(script, monkeypatch, photos, tmp_path, checkpoint)
    assert verify_shards(tmp_path) == {"train": COUNT}
    samples = read(tmp_path)
    assert sorted(samples) == [f"{i}.png" for i in range(COUNT)]
    generated, refined = split_boosted(samples["0.png"])
    assert azimuths_of(generated) == azimuths_of(refined) == list(VIEW_AZIMUTHS.values())
    assert samples["0.png"].licence == "cc0-1.0" and not (generated.images - refined.images).abs().max() < 0.01
    pipe = MVBoostPipeline.from_pretrained(checkpoint)
    torch.testing.assert_close(refined.cameras.camera_to_world, pipe.view_cameras(16).camera_to_world)
    # an object depends on its name alone: not on what was made with it
    make(script, monkeypatch, photos, tmp_path / "one", checkpoint, "--limit", "1", "--batch-size", "1")
    alone = read(tmp_path / "one")["0.png"]
    assert (alone.views.images - samples["0.png"].views.images).abs().max() <= 1 / 255 + 1e-6
    make(script, monkeypatch, photos, tmp_path, checkpoint, "--split", "test", "--limit", "2", "--seed", "1")
    assert verify_shards(tmp_path) == {"train": COUNT, "test": 2}
    assert not torch.equal(read(tmp_path, split="test")["0.png"].views.images, samples["0.png"].views.images)


def test_an_interrupted_run_goes_on_and_every_object_is_there_once(script, monkeypatch, photos, checkpoint, tmp_path):
    written, write_row = [], script.write_row

    def stopping(file, sample):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(sample.key)
        write_row(file, sample)

    monkeypatch.setattr(script, "write_row", stopping)
    with pytest.raises(KeyboardInterrupt):
        make(script, monkeypatch, photos, tmp_path, checkpoint)
    assert not (tmp_path / "manifest.json").exists()
    monkeypatch.setattr(
        script, "write_row", lambda file, sample: (written.append(sample.key), write_row(file, sample))
    )
    with pytest.raises(SystemExit, match=r"made with strength 0.95, not 0.5.*same options to go on"):
        make(script, monkeypatch, photos, tmp_path, checkpoint, "--strength", "0.5")
    work = tmp_path / ".boosting-train"
    damaged = row_file(work, written[0])
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    with pytest.raises(SystemExit, match=f"{damaged.name} is damaged .* remove it and run the same command again"):
        make(script, monkeypatch, photos, tmp_path, checkpoint)
    assert len(list(work.glob("*.parquet"))) == COUNT, "nothing else is lost"
    damaged.write_bytes(content)
    make(script, monkeypatch, photos, tmp_path, checkpoint)
    assert sorted(written) == [f"{i}.png" for i in range(COUNT)], "no object was made twice"
    assert verify_shards(tmp_path) == {"train": COUNT} and len(read(tmp_path)) == COUNT
    with pytest.raises(SystemExit, match="already holds the split"):
        make(script, monkeypatch, photos, tmp_path, checkpoint)


def test_processes_share_the_objects(script, monkeypatch, photos, checkpoint, tmp_path):
    monkeypatch.setattr(
        sys, "argv", ["x", str(photos), "-o", str(tmp_path), "--checkpoint", str(checkpoint), *OPTIONS]
    )
    arguments = script.parse_arguments()
    source, pipe = script.open_source(arguments), script.load_pipeline(arguments, PartialState(cpu=True).device)
    keys = []
    for rank in range(2):
        before = set(tmp_path.glob("*.parquet"))
        state = SimpleNamespace(process_index=rank, num_processes=2, is_main_process=rank == 0)
        script.make_rows(pipe, source, tmp_path, arguments, state)
        keys.append(sorted(row["scene_id"] for row in stored_rows(sorted(set(tmp_path.glob("*.parquet")) - before))))
    assert keys == [["0.png", "2.png", "4.png"], ["1.png", "3.png"]]


def test_objects_that_cannot_be_cut_out_are_reported(script, monkeypatch, photos, checkpoint, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, path in enumerate(sorted(photos.iterdir())[:3]):
        image = Image.open(path)
        (image.convert("RGB") if i == 1 else image).save(folder / path.name)
    make(script, monkeypatch, folder, tmp_path / "out", checkpoint)
    assert sorted(read(tmp_path / "out")) == ["0.png", "2.png"]
    assert "no alpha channel" in (tmp_path / "out" / "failures.json").read_text()
    assert "1 objects gave nothing" in capsys.readouterr().err


def test_masks_are_what_is_not_white_near_the_silhouette_and_all_inside_it():
    images = torch.ones(1, 3, 64, 64)
    images[..., 22:44, 20:40] = 0.2
    images[..., 30:34, 28:32] = 1.0  # a white part of the object
    images[..., 2:6, 2:6] = 0.5  # a speck elsewhere
    alphas = torch.zeros(1, 1, 64, 64)
    alphas[..., 20:42, 20:40] = 1.0
    (mask,) = object_masks(images, alphas)
    expected = torch.zeros(64, 64)
    expected[22:44, 20:40] = 1
    assert torch.equal(mask[0], expected)


def test_other_samples_are_refused():
    images = torch.rand(6, 3, 8, 8)
    cameras = lgm_cameras(list(VIEW_AZIMUTHS.values()), size=8)
    views = boosted_views(images, images, torch.ones(6, 1, 8, 8), cameras, tuple(VIEW_AZIMUTHS.values()))
    generated, _ = split_boosted(Sample("object", views))
    assert azimuths_of(generated) == list(VIEW_AZIMUTHS.values())
    for wrong in (views[:6], views[[*range(6, 12), *range(6)]], Views(images, cameras, masks=views.masks[:6])):
        with pytest.raises(ValueError, match=r"accepted are generated and refined views"):
            split_boosted(Sample("object", wrong))
