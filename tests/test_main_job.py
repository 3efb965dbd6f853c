"The main job as a person runs it: `mylib train` and `mylib predict` in processes of their own"
import csv, json, os, re, signal, subprocess, sys

import pytest

import warm
from mylib.deploy.cli import main


def mylib(*words, cwd):
    "Run the command in `cwd`, with a home of its own there"
    return warm.run(warm.command, *words, cwd=cwd, MYLIB_HOME=cwd/'home')


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    "The folder of a run on the embedded digits"
    cwd = tmp_path_factory.mktemp('job')
    done = subprocess.run([sys.executable, '-c', warm.command, 'train'], cwd=cwd, env={**os.environ, 'MYLIB_HOME': str(cwd/'home')}, capture_output=True, text=True)
    assert done.returncode==0, done.stderr
    return cwd, done.stdout


def test_digits_reach_99_percent(trained):
    cwd,said = trained
    accuracy,n = re.search(r'accuracy (\d\.\d+) on (\d+) validation images', said).groups()
    assert int(n)==359 and float(accuracy)>=0.99
    with open(cwd/'runs/digits/metrics.csv', newline='') as f: rows = list(csv.DictReader(f))
    assert list(rows[0])==['epoch', 'train_loss', 'valid_loss', 'accuracy', 'seconds']
    assert [int(r['epoch']) for r in rows]==list(range(30))
    best = max(rows, key=lambda r: float(r['accuracy'])) # the first one of equals
    assert abs(float(best['accuracy'])-float(accuracy))<1e-4 and f"the best epoch is {best['epoch']} of 0 to 29" in said
    settings = json.loads((cwd/'runs/digits/settings.json').read_text())
    assert settings['best_epoch']==int(best['epoch']) and settings['arch']=='small_resnet' and 'size' not in settings
    seconds = sum(float(r['seconds']) for r in rows)
    page = (cwd/'runs/digits/report.html').read_text(encoding='utf-8')
    tiles = dict(re.findall('<dt>(.*?)</dt><dd>(.*?)</dd>', page))
    assert abs(float(re.search(r'; ([0-9.]+) s of training', said)[1])-seconds)<0.06 and abs(float(tiles['seconds'])-seconds)<0.06
    assert abs(float(tiles['accuracy'])-float(accuracy))<1e-4 and tiles['epochs']=='30' and '<td>8 x 8 pixels' in page


def test_report_stands_alone(trained):
    text = (trained[0]/'runs/digits/report.html').read_text(encoding='utf-8')
    assert text.count('src="data:image/png;base64,')>=4
    assert not re.search(r'(src|href)="(?!data:|#)', text)


def test_predicts_digits_of_each_class(trained):
    cwd,_ = trained
    files = [sorted((cwd/'home/data/digits'/str(d)).iterdir())[3] for d in range(10)]
    done = mylib('predict', 'runs/digits/model.mylib', *files, '--json', cwd=cwd)
    rows = [json.loads(o) for o in done.stdout.splitlines()]
    assert [r['file'] for r in rows]==[str(f) for f in files]
    assert sum(r['label']==str(d) for d,r in enumerate(rows))>=9


def test_a_second_run_overwrites_nothing(trained):
    cwd,_ = trained
    before = (cwd/'runs/digits/model.mylib').read_bytes()
    assert mylib('train', '--epochs', 1, cwd=cwd).returncode==0
    assert (cwd/'runs/digits/model.mylib').read_bytes()==before
    assert (cwd/'runs/digits-2/model.mylib').exists()


def test_same_seed_same_weights(trained):
    cwd,_ = trained
    weights = []
    for out in ('a', 'b'):
        assert mylib('train', '--epochs', 1, '--lr', 0.01, '--out', out, cwd=cwd).returncode==0
        text = (cwd/out/'metrics.csv').read_text()
        weights.append([line.rsplit(',', 1)[0] for line in text.splitlines()])
    assert weights[0]==weights[1]


@pytest.mark.skipif(sys.platform=='win32', reason='Windows has no SIGINT for one process')
def test_ctrl_c_is_one_line(trained):
    cwd,_ = trained
    job = warm.start(warm.command, 'train', '--epochs', '500', '--lr', '0.01', '--out', 'stopped', cwd=cwd, MYLIB_HOME=cwd/'home')
    for line in job.stdout:
        if line.split()[:1]==['2']: break
    job.send_signal(signal.SIGINT)
    _,err = job.communicate(timeout=600)
    assert job.returncode==130
    message = err.strip().splitlines()
    assert len(message)==1 and 'Stopped in epoch' in message[0]
    assert len((cwd/'stopped/metrics.csv').read_text().splitlines())>=4


@pytest.mark.parametrize('words,fix', [
    (['train', 'nowhere'], 'one sub-folder a class'),
    (['predict', 'nowhere.mylib', 'a.png'], 'Check the path'),
    (['trian'], 'Did you mean train?'),
    (['train', '--epochs', 'many'], "'many' is not a whole number above 0"),
    (['train', '--size', '64'], 'says nothing for the handwritten digits'),
    (['train', '--out', 'home/data/digits/0/nothing.png/x'], 'Choose another one with --out'),
])
def test_mistakes_are_one_line(trained, words, fix, monkeypatch, capsys):
    cwd,_ = trained
    (cwd/'home/data/digits/0/nothing.png').touch()
    monkeypatch.chdir(cwd)
    monkeypatch.setenv('MYLIB_HOME', str(cwd/'home'))
    try: code = main(words)
    except SystemExit as e: code = e.code # as of a word that is none
    (cwd/'home/data/digits/0/nothing.png').unlink()
    said = capsys.readouterr().err
    assert code==2
    assert len(said.strip().splitlines())==1 and fix in said
