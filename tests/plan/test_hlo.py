"""Bytes sent by the collectives of programs of a few lines."""

import pytest

from mmcot_jax.plan import hlo

LOOP = """HloModule jit_f

%body.1 (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], f32[8]) parameter(0)
  %w = f32[2] get-tuple-element(%p), index=1
  %ag = f32[8]{0:T(128)} all-gather(%w), channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}
  ROOT %t = (s32[], f32[8]) tuple(%i, %ag)
}

%cond.1 (p.1: (s32[], f32[8])) -> pred[] {
  %p.1 = (s32[], f32[8]) parameter(0)
  %c = s32[] constant(5)
  ROOT %lt = pred[] compare(%i, %c), direction=LT
}

ENTRY %main (x: f32[8]) -> f32[8] {
  %x = f32[8] parameter(0)
  %loop = (s32[], f32[8]) while(%start), condition=%cond.1, body=%body.1<ANNOTATION>
  ROOT %ar = f32[8] all-reduce(%y), channel_id=2, replica_groups={{0,1,2,3},{4,5,6,7}}
}
"""
GATHERED, REDUCED = 8 * 4 * 3 / 4, 2 * 8 * 4 * 3 / 4


def sent(text, loop_steps=(1,), slices=1):
    return hlo.collective_bytes(hlo.parse(text, loop_steps), slices)


def program(line):
    return f"HloModule m\n\nENTRY %main (x: f32[8]) -> f32[8] {{\n  ROOT %y = {line}\n}}\n"


@pytest.mark.parametrize(
    ("annotation", "trip_count"),
    [("", 5), (', backend_config={"known_trip_count":{"n":"7"}}', 7)],
)
def test_a_collective_in_a_loop_counts_once_per_iteration(annotation, trip_count):
    found = sent(LOOP.replace("<ANNOTATION>", annotation))
    assert found.within_slice == {"all-gather": trip_count * GATHERED, "all-reduce": REDUCED}
    assert (found.across_slices, found.count) == (0.0, trip_count + 1)
    assert found.total == trip_count * GATHERED + REDUCED


def test_a_loop_of_unknown_trip_count_counts_as_often_as_given():
    text = LOOP.replace("<ANNOTATION>", "").replace("compare(%i, %c)", "and(%i, %c)")
    assert sent(text, (96,)).within_slice["all-gather"] == 96 * GATHERED


def test_loops_of_unknown_trip_count_have_theirs_in_order():
    text = LOOP.replace("<ANNOTATION>", "").replace("compare(%i, %c)", "and(%i, %c)")
    second = text.replace("channel_id=1", "channel_id=3").replace(".1", ".2").split("ENTRY")[0]
    loop = "  %loop.2 = (s32[], f32[8]) while(%loop), condition=%cond.2, body=%body.2\n"
    both = second + text.partition("\n\n")[2].replace("  ROOT %ar", loop + "  ROOT %ar")
    assert sent(both, (3, 4)).within_slice["all-gather"] == 7 * GATHERED
    with pytest.raises(hlo.Unreadable, match="2 loops that may end early, expected 3"):
        hlo.parse(both, (3, 4, 5))


def test_a_kernels_metadata_of_several_lines_does_not_end_a_computation():
    """As splash attention's; the gather comes after it."""
    kernel = """  %kernel = f32[2] custom-call(%w), frontend_attributes={kernel_metadata={
"xprof_metadata":"{\\"block_q\\": 128}"
}}, metadata={op_name="splash"}
"""
    text = LOOP.replace("<ANNOTATION>", "").replace("  %ag =", kernel + "  %ag =")
    assert sent(text).within_slice == {"all-gather": 5 * GATHERED, "all-reduce": REDUCED}
    body = hlo.parse(text, (1,)).computations["body.1"]
    assert [line.op for line in body][2:4] == ["custom-call", "all-gather"]
    assert body[2].rest.endswith('}}, metadata={op_name="splash"}')


def test_a_collective_that_is_in_the_text_twice_counts_once():
    repeated = "%again = f32[8] all-gather(%w), channel_id=1, replica_groups=[2,4]<=[8]"
    text = LOOP.replace("<ANNOTATION>", "").replace("  ROOT %ar", f"  {repeated}\n  ROOT %ar")
    assert sent(text).within_slice["all-gather"] == 5 * GATHERED


@pytest.mark.parametrize(
    ("line", "kind", "size"),
    [
        # a quarter each of 2 x 16 bytes; a pair (part, whole); parts of what was 64 bytes
        ("bf16[2,8]{1,0} all-to-all(%x), replica_groups=[2,4]<=[8]", "all-to-all", 24),
        ("(f32[2], f32[8]) all-gather-start(%x), replica_groups=[2,4]<=[8]", "all-gather", 24),
        ("f32[4] reduce-scatter(%x), replica_groups=[2,4]<=[8]", "reduce-scatter", 48),
        (
            "(f32[8], f32[8], u32[], u32[]) collective-permute-start(%x), "
            "source_target_pairs={{0,1},{1,0}}",
            "collective-permute",
            32,
        ),
        ("f32[8] all-gather(%x), replica_groups=mesh['a'=4,'b'=2] {'b'}, x={0}", "all-gather", 16),
        ("f32[8] all-gather(%x), replica_groups=mesh['a'=4,'b'=2] {'a'}", "all-gather", 24),
        ("f32[8] all-gather(%x), replica_groups=[2,4]<=[4,2]T(1,0)", "all-gather", 24),
    ],
)
def test_bytes_are_those_of_ring_algorithms(line, kind, size):
    assert sent(program(line)).within_slice == {kind: size}


def transfer(kind, target="", handler="_xla_megascale_transfer_type"):
    attributes = f'{handler}="{kind}"{target}'
    return (
        "(f32[8]{0:T(128)}, u32[], token[]) send(%x, %t), channel_id=2, is_host_transfer=true, "
        f"frontend_attributes={{{attributes}}}"
    )


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("ALL_GATHER", 32 * 3),
        ("ALL_REDUCE", 2 * 32 * 3 / 4),
        ("REDUCE_SCATTER", 32 * 3 / 4),
        ("ALL_TO_ALL", 32 * 3 / 4),
        ("ONE_TO_ONE", 32),
    ],
)
def test_transfers_between_slices_are_counted_apart(kind, size):
    found = sent(program(transfer(kind)), slices=4)
    assert (found.within_slice, found.across_slices, found.count) == ({}, size, 1)


def test_a_transfer_counts_the_slices_that_it_names_and_every_iteration():
    pair = transfer("ALL_GATHER", ',_xla_megascale_target="{1,2}x{0:15}"')
    assert sent(program(pair), slices=4).across_slices == 32
    text = LOOP.replace("<ANNOTATION>", "").replace("  %ag =", f"  %s = {pair}\n  %ag =")
    found = sent(text, slices=4)
    assert (found.across_slices, found.within_slice["all-gather"]) == (5 * 32, 5 * GATHERED)


def test_a_transfer_to_the_host_itself_is_sent_nowhere_and_an_unknown_kind_is_refused():
    other = transfer("callback", handler="_xla_host_transfer_handler_name")
    assert sent(program(other)).total == 0
    with pytest.raises(hlo.Unreadable, match="between slices of an unknown kind: BROADCAST"):
        sent(program(transfer("BROADCAST")))


@pytest.mark.parametrize("groups", ["{}", "mesh['a'=4] {'a':(1)2}"])
def test_groups_in_an_unknown_form_are_refused(groups):
    with pytest.raises(hlo.Unreadable, match="all-gather of groups in an unknown form"):
        sent(program(f"f32[8] all-gather(%x), replica_groups={groups}"))


def test_an_out_of_memory_error_has_bytes_required_and_available():
    error = RuntimeError(
        "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory "
        "required for HLO temporaries (18.25G) exceeds available HBM (15.75G). HLO module: jit_f."
    )
    assert hlo.out_of_memory(error) == (18.25 * 2**30, 15.75 * 2**30)
    assert hlo.out_of_memory(RuntimeError("INTERNAL: something else")) is None
