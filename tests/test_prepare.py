"""A prepared store holds the rows that a run without one makes."""

import numpy as np
import pytest
from helpers.flags import flags

from mmcot_jax import config, data, lock, prepare, run_data, stages, store


@pytest.mark.slow
def test_a_prepared_store_holds_the_rows_made_in_memory(tmp_path, capfd):
    arguments = flags(tmp_path / "store", "data.train.count=8", "data.shards=2")
    assert prepare.main(arguments) == 0
    c = config.parse_args(arguments).config
    kept = store.open(tmp_path / "store", run_data.fingerprint(c))
    with c.unlocked():
        c.stages = ()
    made = list(stages.Run(c, tmp_path).encoded_rows())
    assert len(kept) == len(made) == 8
    for number, row in enumerate(made):
        np.testing.assert_array_equal(kept[number].tokens, row.tokens)
        np.testing.assert_array_equal(kept[number].loss, row.loss)
    assert data.Rows(made).lengths.tolist() == kept.lengths.tolist()
    assert prepare.main(arguments) == 2
    assert "holds a store" in capfd.readouterr().err


@pytest.mark.slow
def test_a_store_of_other_supervision_is_refused(tmp_path):
    # a mesh for sampling that does not fit the devices is none of its business
    given = "data.train.count=2", "data.shards=1", "rollout_mesh={'tensor': 3}"
    arguments = flags(tmp_path / "store", *given)
    assert prepare.main(arguments) == 0
    other = config.parse_args([*arguments, "--config.sft.eos=false"]).config
    with pytest.raises(ValueError, match="supervision"):
        store.open(tmp_path / "store", run_data.fingerprint(other))


def test_a_store_that_another_command_writes_is_refused(tmp_path, capfd):
    with lock.hold(tmp_path):
        assert prepare.main(flags(tmp_path)) == 2
        assert [p.name for p in tmp_path.iterdir()] == [lock.FILE]
    assert f"error: {tmp_path} is in use by process" in capfd.readouterr().err
