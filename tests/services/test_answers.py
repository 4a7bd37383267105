"""Every kind of answer by real processes over mutual TLS."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from mpcvit.client import Client
from mpcvit.client.answers import LabelMap, Match, Scalar, Scores, Tags, Vector
from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.objective import DEFAULT_OBJECTIVE
from mpcvit.engines.masked.plan import make_plan
from mpcvit.errors import NotRevealed
from mpcvit.export.exported import INPUT
from mpcvit.program.reference import run_reference
from mpcvit.store.shared import share_model
from parties.local.cluster import LocalCluster
from tests.support.answers import IMAGES, MAP, MATCH, NAMES, SCALAR, SCORES, TAGS, VECTOR, make_folder, real_outputs
from tests.support.clusters import TIMEOUTS
from tests.support.images import pixel_codes

KINDS = (SCORES, TAGS, VECTOR, SCALAR, MAP, MATCH)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> LocalCluster:
    """Two parties and a dealer that serve a model of each kind; not started."""
    folder = tmp_path_factory.mktemp("answers")
    shares = [share_model(make_folder(reveal), 2, folder / str(reveal.kind))[1] for reveal in KINDS]
    cluster = LocalCluster(shares[0], folder, overrides={"timeouts": TIMEOUTS})
    for index in (0, 1):
        path = folder / f"party{index}.yaml"
        models = [str(parts[index]) for parts in shares]
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "models": models}))
    path = folder / "dealer.yaml"
    programs = [str(parts[0]) for parts in shares]
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "programs": programs}))
    return cluster


def test_parties_answer_in_every_way(serving: LocalCluster) -> None:
    """Two pictures to each model: bits and labels are the reference's, numbers the float model's, costs the plan's."""
    codes, exact = pixel_codes(IMAGES)[:2], 0
    with serving, Client.from_config(serving.client_config) as client:
        for reveal in KINDS:
            model = make_folder(reveal)
            expected = run_reference(model.program, model.weights, {INPUT: codes})
            declared = fast_cost(make_plan(model.program, DEFAULT_OBJECTIVE)).total
            for number in (0, 1):
                answer = client.infer(codes[number].transpose(1, 2, 0).astype(np.uint8), str(reveal.kind))
                real, integers = real_outputs(reveal)[number], expected[number]
                match answer.answer:
                    case Scores(labels, logits):
                        assert labels == NAMES
                        assert np.abs(logits - real).max() < 0.05
                    case Tags(present=present):
                        assert present == tuple(integers.astype(bool))
                    case Vector(values):
                        assert np.abs(values - real).max() < 0.05
                    case Scalar(value):
                        assert abs(value - real[0]) < 0.05
                    case LabelMap(classes=classes):
                        assert classes.tolist() == real.argmax(0).tolist()
                    case Match(matches):
                        assert matches == bool(integers[0])
                    case other:
                        pytest.fail(f"an answer of another kind: {other}")
                assert answer.reveal == model.description.reveal
                if answer.rounds == declared.rounds:  # else an opening was ambiguous, and a second attempt was made
                    exact += 1
                    assert tuple(stats.bytes_sent for stats in answer.stats) == declared.bytes_sent
                    assert tuple(stats.material_bytes for stats in answer.stats) == declared.material_bytes
                with pytest.raises(NotRevealed):
                    _ = answer.label
    assert exact >= 2 * len(KINDS) - 2
    logs = "".join(serving.log(role) for role in serving.roles)
    assert "Traceback" not in logs
