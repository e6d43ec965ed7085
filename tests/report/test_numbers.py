import pytest

from benchgen.report import numbers


@pytest.mark.parametrize(
    ("value", "stderr", "scale", "expected"),
    [
        (12.3456, 0.234, 1, "12.35 ± 0.23"),
        (1.0, 0.0996, 1, "1.00 ± 0.10"),
        (0.5, 0.00996, 1, "0.500 ± 0.010"),
        (0.00612, 0.00041, 1000, "6.12 ± 0.41"),
        (1234.5, 123.4, 1, "1230 ± 120"),
        (412.6, 9.96, 1, "413 ± 10"),
        (-0.00003, 0.00006, 1000, "−0.030 ± 0.060"),
        (-0.0001, 0.23, 1, "0.00 ± 0.23"),
        (12.3456, None, 1, "12.35"),
        (0.0, None, 1, "0"),
        (0.0, 0.0, 1, "0"),
        (1.234e-8, 4.1e-10, 1, "(1.234 ± 0.041) × 10⁻⁸"),
        (12.3, 1e-9, 1, "12.300000 ± 1.0 × 10⁻⁹"),
        (0.0, 1e-9, 1, "(0.0 ± 1.0) × 10⁻⁹"),
        (None, None, 1, "–"),
        (None, 0.1, 1, "–"),
    ],
)
def test_value_is_cut_at_the_second_digit_of_its_error(
    value: float | None, stderr: float | None, scale: float, expected: str
) -> None:
    assert numbers.with_error(value, stderr, scale) == expected


def test_interval_has_the_decimals_of_the_value() -> None:
    assert numbers.interval((12.1932, 13.4868), 0.33) == "[12.19, 13.49]"
    assert numbers.interval((-0.00015, 0.00009), 0.00006, 1000) == "[−0.150, 0.090]"
    assert numbers.interval((0.0, 0.0), 0.0) == "[0, 0]"
    assert numbers.interval((0.1, 0.9), None) == "[0.10, 0.90]"
    assert numbers.interval(None, 0.1) == "–"


def test_scales() -> None:
    assert [numbers.scale_label(s) for s in (1, 1000, 100, 0.001, 2.5)] == [
        "",
        "×10³",
        "×10²",
        "×10⁻³",
        "×2.5",
    ]


def test_sizes_and_durations() -> None:
    assert [numbers.size(s) for s in (0, 512, 734_003_200, 3 * 2**30, None)] == [
        "0 B",
        "512 B",
        "700.0 MiB",
        "3.0 GiB",
        "–",
    ]
    assert [numbers.duration(s) for s in (0.42, 12.34, 245, 7800)] == [
        "0.42 s",
        "12.3 s",
        "4 min 05 s",
        "2 h 10 min",
    ]
