"""MVGDPipeline loads as diffusers' own pipelines do: from a folder, by repository id, and offline from the cache.

Every way is tried in a process of its own, which has imported nothing but `anyviews` before.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hub.scenarios import PUBLISHED, PUSHED
from hub.stub_hub import Repository, StubHub


SCENARIOS = Path(__file__).with_name("scenarios.py")
CARD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: image-to-3d
tags: [anyviews]
datasets: []
---
# Micro MVGD

Made from scratch. Weights and code: apache-2.0. Training data: none.
"""


class Session:
    """One folder, one Hub, and the processes that use them."""

    def __init__(self, folder: Path, hub: StubHub):
        self.folder, self.hub = folder, hub

    def python(self, *arguments: str | Path, **environment: str) -> str:
        """Run a script in a fresh process; returns what it printed."""
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            env=self.hub.environment(self.folder / "home", **environment),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def play(self, scenario: str, **environment: str) -> dict:
        """Run a scenario and read what it found."""
        self.python(SCENARIOS, scenario, self.folder, **environment)
        return json.loads((self.folder / f"{scenario}.json").read_text(encoding="utf-8"))

    def same_as_the_author(self, name: str) -> bool:
        """Whether a process generated what the author of the model did before saving it."""
        with np.load(self.folder / "author.npz") as expected, np.load(self.folder / f"{name}.npz") as found:
            assert expected.files == found.files == ["images", "depths"]
            assert all(np.isfinite(found[key]).all() and expected[key].std() > 1e-3 for key in expected.files)
            return all(np.allclose(found[key], expected[key], rtol=1e-5, atol=1e-5) for key in expected.files)


@pytest.fixture(scope="module")
def author(tmp_path_factory, repository) -> Session:
    """A micro model that was saved, pushed and published; the Hub runs until `offline` stops it."""
    with StubHub() as hub:
        session = Session(tmp_path_factory.mktemp("hub"), hub)
        session.play("author")
        (session.folder / "card.md").write_text(CARD, encoding="utf-8")
        publish = repository / "utils" / "publish_checkpoint.py"
        session.python(publish, session.folder / "whole", PUBLISHED, "--card", session.folder / "card.md")
        # by its class, the package's own code loads a pipeline: this must never run
        files = hub.repositories["model", PUBLISHED].files
        for name in [name for name in files if name.endswith(".py")]:
            files[name] = b"raise SystemExit('code of the Hub ran')"
        yield session


@pytest.fixture(scope="module")
def by_repository(author: Session) -> tuple[dict, list[str]]:
    """What loading by repository id found, and the requests that it took."""
    first = len(author.hub.requests)
    found = author.play("from_hub")
    return found, author.hub.requests[first:]


@pytest.fixture(scope="module")
def by_folder(author: Session) -> dict:
    """What loading from folders found."""
    return author.play("from_folder")


def pushed(author: Session) -> Repository:
    return author.hub.repositories["model", PUSHED]


def test_the_index_names_the_package(author):
    expected = {
        "image_encoder": ["anyviews", "MVGDImageEncoder"],
        "transformer": ["anyviews", "MVGDTransformerModel"],
        "scheduler": ["diffusers", "DDIMScheduler"],
    }
    for text in (
        (author.folder / "whole" / "model_index.json").read_bytes(),
        pushed(author).files["model_index.json"],
    ):
        index = json.loads(text)
        assert index.pop("_class_name") == "MVGDPipeline"
        assert {name: entry for name, entry in index.items() if not name.startswith("_")} == expected


def test_from_a_folder(author, by_folder):
    assert author.same_as_the_author("from_folder")


def test_by_repository_id(author, by_repository):
    assert pushed(author).private, "the repository was pushed with private=True"
    assert author.same_as_the_author("from_hub")


def test_a_variant_is_pushed_beside_the_full_weights_and_loaded_alone(author, by_repository):
    found, requests = by_repository
    for component in ("image_encoder", "transformer"):
        full = f"{component}/diffusion_pytorch_model.safetensors"
        low = f"{component}/diffusion_pytorch_model.bf16.safetensors"
        assert full in pushed(author).files
        assert len(pushed(author).files[low]) < 0.7 * len(pushed(author).files[full])
        downloads = [request.rsplit("/", 2) for request in requests if request.startswith(f"GET /{PUSHED}/resolve")]
        names = [f"{folder}/{file}" for _, folder, file in downloads]
        # once each: the full weights for the first pipeline, the variant for the second
        assert names.count(full) == names.count(low) == 1
    assert found == {"bf16": "torch.bfloat16", "bf16_weights": True}


def test_the_publishing_script_publishes_what_loads(author, by_repository):
    files = author.hub.repositories["model", PUBLISHED].files
    assert files["README.md"].decode().startswith(CARD)
    assert f'DiffusionPipeline.from_pretrained("{PUBLISHED}", trust_remote_code=True)' in files["README.md"].decode()
    assert {path.split("/")[0] for path in files} == {
        "LICENSE.anyviews", "README.md", "image_encoder", "model_index.json", "pipeline.py", "scheduler",
        "transformer",
    }  # fmt: skip
    assert author.same_as_the_author("published")


def test_sharded_weights(author, by_folder):
    shards = list((author.folder / "sharded" / "transformer").glob("*-of-*.safetensors"))
    assert len(shards) > 1
    assert author.same_as_the_author("sharded")


def test_a_variant_from_a_folder(author, by_folder):
    assert by_folder["bf16"] == "torch.bfloat16"
    assert by_folder["bf16_weights"]
    assert not author.same_as_the_author("bf16"), "nothing was computed in bf16"


def test_components_of_a_folder_and_own_components(author, by_folder):
    assert by_folder["own"]
    assert author.same_as_the_author("own")


def test_a_scheduler_of_the_right_family_replaces_the_saved_one(by_folder):
    assert by_folder["swapped"]
    assert by_folder["swapped_again"] is False, "saving again keeps the new scheduler's settings"


def test_a_scheduler_that_would_sample_noise_is_refused(by_folder):
    assert "needs a DDIMScheduler, found FlowMatchEulerDiscreteScheduler" in by_folder["wrong_family"]
    assert "predicts 'epsilon' but the scheduler expects 'sample'" in by_folder["wrong_target"]


@pytest.fixture(scope="module")
def by_cache(author: Session, by_repository) -> dict:
    """What loading by repository id found after the Hub had gone."""
    assert author.hub.unknown == []
    author.hub.stop()
    return author.play("from_cache", HF_HUB_OFFLINE="1")


def test_offline_from_the_cache(author, by_cache):
    """Here and below the Hub is gone."""
    assert author.same_as_the_author("from_cache")


def test_a_component_through_diffusers_own_automatic_class(by_cache):
    assert by_cache == {"component": "MVGDTransformerModel", "weights": True}
