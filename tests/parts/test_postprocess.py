"""From config to post-processing."""

import pytest

from rfcn.config import schema
from rfcn.config.loader import config_from_mapping
from rfcn.errors import ConfigError
from rfcn.models.suppression import BoxVoting, HardNMS, SoftNMS
from rfcn.parts.postprocess import build_postprocess

STD = (0.1, 0.1, 0.2, 0.2)


def built(**postprocess):
    config = config_from_mapping({"model": {"postprocess": postprocess}})
    return build_postprocess(config.model.postprocess, STD)


def test_the_default_is_the_papers():
    post = build_postprocess(schema.PostProcess(), STD)
    assert isinstance(post.suppression, HardNMS)
    assert (post.score_threshold, post.suppression.threshold) == (1e-3, 0.3)
    assert (post.max_detections, post.box_voting, post.box_std) == (300, None, STD)


@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_the_numbers_of_soft_nms_arrive(method):
    post = built(
        score_threshold=0.02,
        nms_threshold=0.45,
        suppression={"type": "soft_nms", "method": method, "sigma": 0.7},
    )
    assert isinstance(post.suppression, SoftNMS)
    assert vars(post.suppression) == {
        "method": method,
        "threshold": 0.45,
        "sigma": 0.7,
        "score_threshold": 0.02,
    }


@pytest.mark.parametrize("written", [{}, {"threshold": 0.6, "scoring": "average"}])
def test_the_numbers_of_box_voting_arrive(written):
    voting = built(box_voting=written).box_voting
    assert isinstance(voting, BoxVoting)
    assert vars(voting) == {"threshold": 0.5, "scoring": "keep", **written}


def test_settings_of_the_other_choice_are_refused():
    with pytest.raises(ConfigError, match=r"suppression\.sigma: unknown key.*type 'soft_nms'"):
        built(suppression={"sigma": 0.5})
    with pytest.raises(ConfigError, match="expected one of 'linear', 'gaussian'"):
        built(suppression={"type": "soft_nms", "method": "softer"})
    with pytest.raises(ConfigError, match="expected a number above 0 and up to 1"):
        built(box_voting={"threshold": 0})
