import jax.numpy as jnp

from mmcot_jax.nn.codebook import nearest


def test_the_nearest_code_is_the_first_of_equals_also_across_chunks(monkeypatch):
    monkeypatch.setattr("mmcot_jax.nn.codebook.CHUNK", 2)
    codebook = jnp.array([[9.0, 9.0], [1.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    z = jnp.array([[[1.2, 0.1], [0.0, 3.0], [8.0, 8.0]]])
    assert nearest(z, codebook).tolist() == [[1, 3, 0]]
