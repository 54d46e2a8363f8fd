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
    with pytest.raises(OSError, match="toy"):
        ending(OSError(errno.EIO, "toy"))


def test_a_full_disk_is_known_in_whatever_a_library_wraps_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ending(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert "the disk is full" in capsys.readouterr().err


def test_a_folder_that_may_not_be_written_is_named_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ending(PermissionError(errno.EACCES, "toy", "out"))
    assert "may not be written or read (at out)" in capsys.readouterr().err


def test_a_full_disk_names_the_file_when_it_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ending(OSError(errno.ENOSPC, "toy", "out/train/x"))
    assert "the disk is full (at out/train/x)" in capsys.readouterr().err


def test_a_command_keeps_its_name_and_its_arguments() -> None:
    @ends_clearly
    def toy(number: int) -> None:
        """Says nothing."""

    toy(3)
    assert (toy.__name__, toy.__doc__) == ("toy", "Says nothing.")
