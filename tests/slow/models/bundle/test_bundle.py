"""A bundle is refused unless it is exactly what was trained for this release."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from featurestore.errors import BundleError
from featurestore.session.features import FEATURES, N_FEATURES
from featurestore.session.stages import STAGES
from models.bundle import bundle as bundles
from models.bundle.baseline import Baseline
from models.bundle.bundle import ANALYSTS, CHECKSUM, MANIFEST, Bundle, write_bundle
from models.bundle.manifest import Training
from models.heads import Golden
from models.heads.stage import stage_head
from models.rules import StageRules
from models.training.analysts import pickled
from models.trees.ensemble import Ensemble, read_npz, write_npz

ROOT = Path(__file__).parents[4]
MODEL, GOLDEN, BASELINE = "stage.npz", "stage.golden.npz", "stage.baseline.json"


def drawn() -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    X = rng.lognormal(2, 1, (400, N_FEATURES)).round(3)
    X[rng.random(400) < 0.3, 5] = np.nan
    return X


@pytest.fixture(scope="module")
def model() -> dict[str, Any]:
    X = drawn()
    medians = np.nanmedian(X, axis=0)
    filled = np.where(np.isnan(X), medians, X)
    y = ((filled[:, 0] > 8).astype(int) + 2 * (filled[:, 5] > 7)).astype(np.uint8)
    estimator = RandomForestClassifier(5, max_depth=4, random_state=0).fit(filled, y)
    return {
        "name": "journey",
        "created": "2026-01-01",
        "heads": [
            stage_head(
                Ensemble.from_sklearn(estimator, STAGES),
                baseline=Baseline.from_training(X, y),
                golden=X[:20],
                fill=medians,
                minimum=filled.min(axis=0),
                maximum=filled.max(axis=0),
            )
        ],
        "rules": StageRules(idle_s=25.0),
        "seed": 42,
        "training": Training(sessions=40, rows=400, model="random_forest", metrics={"accuracy": 0.99}),
        "analysts": pickled(estimator),
    }


@pytest.fixture
def written(tmp_path: Path, model: dict[str, Any]) -> Path:
    return write_bundle(tmp_path / "bundles", version="1", **model)


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change the manifest as someone would who knows about the checksums."""
    manifest = json.loads((path / MANIFEST).read_text())
    for name in manifest["files"]:
        manifest["files"][name] = bundles._sha256((path / name).read_bytes())
    change(manifest)
    data = json.dumps(manifest).encode()
    (path / MANIFEST).write_bytes(data)
    (path / CHECKSUM).write_text(f"{bundles._sha256(data)}  {MANIFEST}\n")
    return path


def stage(manifest: dict[str, Any]) -> dict[str, Any]:
    head: dict[str, Any] = manifest["heads"][0]
    return head


def test_what_was_written_is_what_scores(written: Path, model: dict[str, Any]) -> None:
    loaded = Bundle.load(written)
    assert (loaded.id, loaded.name, loaded.version) == ("journey-1", "journey", "1")
    assert loaded.rules.idle_s == 25.0
    [head] = model["heads"]
    assert loaded.stage.baseline == head.baseline
    assert loaded.stage.model.digest() == head.model.digest()
    np.testing.assert_array_equal(loaded.stage.minimum, head.minimum)
    assert loaded.manifest.sha256(BASELINE) == bundles._sha256((written / BASELINE).read_bytes())
    assert loaded.manifest.libraries["scikit-learn"]


def test_missing_values_are_filled_with_the_medians(written: Path, model: dict[str, Any]) -> None:
    loaded = Bundle.load(written)
    X = drawn()
    [head] = model["heads"]
    filled = np.where(np.isnan(X), head.fill, X)
    np.testing.assert_array_equal(loaded.score(X), head.model.predict(filled))
    stages = loaded.score(X).argmax(axis=1).astype(np.uint8)
    np.testing.assert_array_equal(loaded.contributions(X, stages), loaded.contributions(filled, stages))


def test_warm_up_compiles_what_scoring_and_explaining_run(written: Path) -> None:
    loaded = Bundle.load(written)
    loaded.warm_up()
    assert loaded.stage.model.path == "leafsets"


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path, model: dict[str, Any]) -> None:
    one, two = (write_bundle(tmp_path / side, version="1", **model) for side in "ab")
    assert sorted(file.name for file in one.iterdir()) == sorted(
        [MANIFEST, CHECKSUM, MODEL, GOLDEN, BASELINE, ANALYSTS]
    )
    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes()


@pytest.mark.parametrize("name", [MANIFEST, CHECKSUM, MODEL, GOLDEN, BASELINE, ANALYSTS])
def test_one_flipped_bit_is_refused(written: Path, name: str) -> None:
    """In any file, at any place; the message names the file or the checksum."""
    good = (written / name).read_bytes()
    for at in np.random.default_rng(1).integers(0, len(good), 12).tolist():
        bad = bytearray(good)
        bad[at] ^= 1 << (at % 8)
        (written / name).write_bytes(bad)
        with pytest.raises(BundleError, match="checksum"):
            Bundle.load(written)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: stage(m).update(columns=stage(m)["columns"][::-1]), "trained on features"),
        (lambda m: stage(m).update(view="features-0"), "trained on view of the stage features-0"),
        (lambda m: stage(m).update(name="mood"), "trained on a first head named mood"),
        (lambda m: stage(m).update(outputs=stage(m)["outputs"][::-1]), "trained on stages"),
        (lambda m: m.update(format=3), "bundle format 3 is unknown, this release reads 1 and 2"),
        (lambda m: m.update(heads=[]), "heads: Tuple should have at least 1 item"),
        (lambda m: m["heads"].append(m["heads"][0]), "each name once"),
        (lambda m: stage(m).update(task="binary"), "a binary model of 9 features and 4 outputs does not fit"),
        (lambda m: stage(m).update(calibration=[2.0, 0.0]), "only a binary model with a logistic link"),
        (lambda m: stage(m).update(model_file="../x"), "heads.0.model_file"),
        (lambda m: m.pop("format"), "bundle format None is unknown"),
        (lambda m: m.update(surprise=1), "surprise: Extra inputs"),
        (lambda m: m["rules"].update(idle_s=-1), "rules.idle_s"),
        (lambda m: stage(m).update(fill=stage(m)["fill"][:8]), "each column needs a finite number"),
        (lambda m: stage(m).update(fill=[3 * value for value in stage(m)["fill"]]), "golden rows"),
        (lambda m: stage(m).update(model="0" * 64), "not those of the manifest|other arrays than those"),
        (lambda m: m["files"].pop(GOLDEN), "other files than a bundle has"),
        (lambda m: m["files"].update({"../x": "0" * 64}), "other files than a bundle has"),
    ],
)
def test_a_bundle_for_another_release_is_refused_with_the_reason(
    written: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    with pytest.raises(BundleError, match=reason) as caught:
        Bundle.load(rewritten(written, change))
    assert "clickstage train" in str(caught.value)


def test_scores_that_this_machine_does_not_reproduce_are_refused(written: Path) -> None:
    golden = read_npz(written / GOLDEN)
    golden["expected"][3] += [1e-6, -1e-6, 0, 0]
    write_npz(written / GOLDEN, golden)
    with pytest.raises(BundleError, match="scores the golden rows of head stage differently"):
        Bundle.load(rewritten(written, lambda _: None))


@pytest.mark.parametrize(
    ("name", "content"),
    [(GOLDEN, b"no zip"), (MODEL, b""), (BASELINE, b"{}"), (MANIFEST, b"{"), (MANIFEST, b"[]"), (MANIFEST, b"\xff")],
)
def test_files_that_are_something_else_are_refused(written: Path, name: str, content: bytes) -> None:
    """Also when their checksums are right."""
    (written / name).write_bytes(content)
    if name == MANIFEST:
        (written / CHECKSUM).write_text(f"{bundles._sha256(content)}  {MANIFEST}\n")
    else:
        rewritten(written, lambda _: None)
    with pytest.raises(BundleError, match="clickstage train"):
        Bundle.load(written)


def test_a_manifest_nested_without_end_is_refused(written: Path) -> None:
    content = b"[" * 200_000
    (written / MANIFEST).write_bytes(content)
    (written / CHECKSUM).write_text(f"{bundles._sha256(content)}  {MANIFEST}\n")
    with pytest.raises(BundleError, match="is no JSON"):
        Bundle.load(written)


@pytest.mark.parametrize("name", [MANIFEST, CHECKSUM, MODEL, BASELINE])
def test_a_fifo_is_refused_and_not_waited_for(written: Path, name: str) -> None:
    (written / name).unlink()
    os.mkfifo(written / name)
    with pytest.raises(BundleError, match="not a regular file"):
        Bundle.load(written)


def test_a_missing_directory_or_file_is_refused(written: Path) -> None:
    with pytest.raises(BundleError, match="there is no model bundle; train one"):
        Bundle.load(written / "nowhere")
    (written / MODEL).unlink()
    with pytest.raises(BundleError, match=r"No such file or directory: stage\.npz"):
        Bundle.load(written)
    (written / MANIFEST).unlink()
    with pytest.raises(BundleError, match=r"No such file or directory: manifest\.json"):
        Bundle.load(written)


def test_the_analysts_copy_may_be_left_out(written: Path) -> None:
    """An image for workers needs no pickle."""
    (written / ANALYSTS).unlink()
    assert Bundle.load(written).id == "journey-1"


def test_a_worker_loads_no_training_library(written: Path) -> None:
    """In a fresh interpreter: neither scikit-learn nor joblib is there after a bundle has loaded and scored."""
    script = f"""
import sys
from pathlib import Path
import numpy as np
from models.bundle.bundle import Bundle
bundle = Bundle.load(Path({str(written)!r}))
bundle.contributions(np.zeros((1, {N_FEATURES})), np.zeros(1, np.uint8))
print(*sorted({{m.split(".")[0] for m in sys.modules}} & {{"sklearn", "joblib", "matplotlib", "pandas"}}))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


def test_an_existing_bundle_is_replaced_only_on_purpose(written: Path, model: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="exists; give the new bundle another --version"):
        write_bundle(written.parent, version="1", **model)
    other = {**model, "created": "2026-02-02"}
    assert write_bundle(written.parent, version="1", replace=True, **other) == written
    assert Bundle.load(written).manifest.created == "2026-02-02"
    assert [entry.name for entry in written.parent.iterdir()] == ["journey-1"]


def test_a_bundle_that_could_not_be_loaded_is_not_written(tmp_path: Path, model: dict[str, Any]) -> None:
    """Nothing of it is left behind."""
    [head] = model["heads"]
    broken = replace(head, golden=Golden(head.golden.rows, head.golden.expected + 1e-3))
    with pytest.raises(BundleError, match="scores the golden rows of head stage differently"):
        write_bundle(tmp_path, version="1", **{**model, "heads": [broken]})
    assert list(tmp_path.iterdir()) == []


def test_the_latest_version_is_found(tmp_path: Path, model: dict[str, Any]) -> None:
    """By number, not by letter."""
    for version in ("1.9", "1.10", "1.2", "rc"):
        write_bundle(tmp_path, version=version, **model)
    assert Bundle.find(tmp_path).name == "journey-1.10"
    with pytest.raises(BundleError, match="train one"):
        Bundle.find(tmp_path / "journey-1.10")


def test_a_bundle_of_format_1_is_one_head_over_the_published_features() -> None:
    """The one that ships: its files are read as they are."""
    shipped = Bundle.load(ROOT / "models/bundles/journey-1")
    assert json.loads((ROOT / "models/bundles/journey-1" / MANIFEST).read_text())["format"] == 1
    assert [head.name for head in shipped.heads] == ["stage"]
    assert shipped.stage.columns == FEATURES
    assert shipped.stage.off() <= shipped.stage.tolerance


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m.update(features=[m["features"][1], m["features"][0], *m["features"][2:]]), "trained on features"),
        (lambda m: m.update(feature_version=0), "trained on feature version 0"),
        (lambda m: m.update(stages=m["stages"][::-1]), "trained on stages"),
        (lambda m: m.update(medians=m["medians"][:8]), "each column needs a finite number"),
        (lambda m: m.update(forest="0" * 64), "other arrays than those of the manifest"),
        (lambda m: m.update(surprise=1), "surprise: Extra inputs"),
    ],
)
def test_a_bundle_of_format_1_for_other_features_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    shutil.copytree(ROOT / "models/bundles/journey-1", tmp_path / "journey-1")
    with pytest.raises(BundleError, match=reason):
        Bundle.load(rewritten(tmp_path / "journey-1", change))
