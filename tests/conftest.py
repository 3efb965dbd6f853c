"A shell that starts a job in the background lets it ignore Ctrl-C, and so would all that the tests start and stop"
import os, signal

import pytest

os.environ['MYLIB_PLOTS'] = '' # plots are not kept

if signal.getsignal(signal.SIGINT)==signal.SIG_IGN: signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def no_windows():
    "Pictures are drawn without a display, and closed at the end"
    import matplotlib.pyplot as plt
    before = plt.get_backend()
    plt.switch_backend('agg')
    yield
    plt.close('all')
    plt.switch_backend(before)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    "Run the command in an empty folder; returns the exit code and what was said"
    from mylib.deploy.cli import main
    monkeypatch.chdir(tmp_path)
    def _run(*words):
        try: code = main([str(o) for o in words])
        except SystemExit as e: code = e.code
        said = capsys.readouterr()
        return code, said.out, said.err
    return _run
