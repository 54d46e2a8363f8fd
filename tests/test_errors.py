"""How a command ends: a known fault with its message and status 1, an unknown one with its traceback."""

import errno

import pytest

from attunement import errors
from attunement.errors import AttunementError, ends_clearly


def ending(error: BaseException) -> None:
    @ends_clearly
    def main() -> None:
        raise error

    main()


@pytest.mark.parametrize("kind", sorted(AttunementError.__subclasses__(), key=lambda kind: kind.__name__))
def test_a_known_fault_is_its_message_on_stderr_and_status_1(
    kind: type[AttunementError], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        ending(kind("what to do next"))
    assert ended.value.code == errors.EXIT_ERROR == 1
    assert capsys.readouterr() == ("", "\nerror: what to do next\n")


def test_an_unknown_fault_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        ending(ZeroDivisionError())
    with pytest.raises(PermissionError):
        ending(PermissionError(errno.EACCES, "toy"))


def test_a_full_disk_names_the_file_when_it_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ending(OSError(errno.ENOSPC, "toy", "out/train/x"))
    assert "the disk is full (while writing out/train/x)" in capsys.readouterr().err


def test_a_command_keeps_its_name_and_its_arguments() -> None:
    @ends_clearly
    def toy(number: int) -> None:
        """Says nothing."""

    toy(3)
    assert (toy.__name__, toy.__doc__) == ("toy", "Says nothing.")
