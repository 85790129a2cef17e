"""Numbers of bytes in words: three digits, in the unit that needs no more."""

import pytest

from finetune.sizes import size_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.00 kB"),
        (1234, "1.23 kB"),
        (9_994, "9.99 kB"),
        (9_996, "10.0 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_600, "1.00 MB"),
        (14_483_498_000, "14.5 GB"),
        (81_559 * 2**20, "85.5 GB"),
        (1.5e15, "1500 TB"),
    ],
)
def test_a_number_of_bytes_has_three_digits_and_its_unit(count, text):
    assert size_text(count) == text
