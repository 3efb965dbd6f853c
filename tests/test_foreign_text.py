"""Names and labels that somebody else wrote: no terminal obeys them, no output chokes on them, no model file carries what is dangerous"""
import io, json, os, subprocess, sys

import numpy as np
import pytest
import torch
from PIL import Image

import warm
from mylib.core.core import UsageError
from mylib.deploy.cli import main
from mylib.deploy.load import load_learner
from test_strangers import Forge, small_learner

posix_names = pytest.mark.skipif(os.name=='nt' or sys.platform=='darwin', reason='file names there are always Unicode')
dangerous = dict(escape='\x1b]0;mine\x07', c1='\x9b2J', null='a\0b', override='a\u202eb', isolate='\u2066a', mark='a\u200fb', separator='a\u2028b', half='caf\udce9', pair='\ud83d', delete='a\x7f')


@pytest.fixture(scope='module')
def raw(tmp_path_factory): return small_learner(tmp_path_factory.mktemp('good')).export().read_bytes()


def refused(folder, raw):
    (folder/'model.mylib').write_bytes(raw)
    with pytest.raises(UsageError) as caught: load_learner(folder/'model.mylib')
    return str(caught.value)


@pytest.mark.parametrize('kind', dangerous)
def test_no_text_of_a_model_file_is_dangerous(raw, tmp_path, kind):
    "A label, a part, an architecture, a weight, a version, a name in the description and the metadata of the weights"
    f,text = Forge(raw),dangerous[kind]
    target = {**f.d['blocks'][1], 'args': {**f.d['blocks'][1]['args'], 'vocab': [text, 'square']}}
    told = [refused(tmp_path, o) for o in (f(blocks=[f.d['blocks'][0], target]), f(model={'part': text, 'args': {}}), f.model('vision.model', arch=text, n_out=2), f(versions={text: '1'}),
                                           f(left_out=[text]), f(training={text: None}), f.header(lambda h: {**h, text: h[next(iter(h))]}), f.header(lambda h: {**h, '__metadata__': {'a': text}}))]
    assert all('with a ' in o and 'Rename' in o and o.isprintable() for o in told), told


def test_line_ends_in_a_label_stay_in_their_line(raw, tmp_path, capsys):
    "Such a label is legal, but no second result can be forged with it"
    f = Forge(raw)
    vocab = ['a\nother.png\tcat\t1.0000', 'b\rother.png\tcat']
    (tmp_path/'model.mylib').write_bytes(f(blocks=[f.d['blocks'][0], {**f.d['blocks'][1], 'args': {**f.d['blocks'][1]['args'], 'vocab': vocab}}]))
    Image.new('RGB', (20, 20)).save(tmp_path/'x\n.png' if os.name!='nt' else tmp_path/'x.png')
    for extra in [],['--json']:
        assert main(['predict', str(tmp_path/'model.mylib'), *map(str, tmp_path.glob('*.png')), *extra])==0
        said = capsys.readouterr().out
        assert said.count('\n')==1 and '\r' not in said
        if extra: assert json.loads(said)['label'] in vocab


def test_every_dangerous_label_is_told_before_a_training(tmp_path, capsys):
    "Not after it, when the model is exported"
    rows = '\n'.join(f'{i},{"caf"+chr(0x9b) if i%2 else "tea"},{i%3}' for i in range(60))
    (tmp_path/'table.csv').write_text(f'x,drink,y\n{rows}', encoding='utf-8')
    assert main(['train', str(tmp_path/'table.csv'), '--target', 'y', '--out', str(tmp_path/'out')])==2
    err = capsys.readouterr().err
    assert 'Rename the folder, column or value' in err and r'caf\x9b' in err and not (tmp_path/'out').exists()


@posix_names
def test_names_that_are_no_utf8(tmp_path, monkeypatch):
    "Classes of such names are told before the training, such files are trained on and predicted, whatever the output can print"
    root,rng = os.fsencode(tmp_path),np.random.default_rng(0)

    def photos(name, *classes):
        for c in classes:
            os.makedirs(os.path.join(root, name, c))
            for k in range(10):
                with open(os.path.join(root, name, c, b'bild \xfc\x1b[31m %d.png' % k), 'wb') as f: Image.fromarray(rng.integers(0, 250, (32, 32, 3)).astype(np.uint8)).save(f, 'png')

    def run(*words):
        done = subprocess.run([sys.executable, '-c', warm.command, *words], capture_output=True, cwd=root, timeout=600)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def run_here(*words, encoding, errors='strict'):
        "The same in this process, with an output of this encoding"
        out,err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=e) for e in (errors, 'backslashreplace'))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'stdout', out)
        monkeypatch.setattr(sys, 'stderr', err)
        try: code = main([os.fsdecode(o) for o in words])
        finally: monkeypatch.undo()
        for o in out,err: o.flush()
        return code, out.buffer.getvalue().decode(), err.buffer.getvalue().decode()

    photos(b'bad', b'caf\xe9', b'tea')
    photos(b'gr\xfc\xdfe', b'coffee', b'tea')
    how = '--arch', 'resnet10t', '--no-pretrained', '--epochs', '1', '--size', '32', '--bs', '8', '--lr', '1e-3'
    code,out,err = run_here('train', b'bad', *how, encoding='utf-8')
    assert [o.split(' ')[0:2][1] for o in err.splitlines()]==['note:', 'The'], err # said with the loaders, and refused
    assert code==2 and r"'caf\xe9' with a byte that is not UTF-8" in err and 'Rename the folder' in err
    code,out,err = run_here('train', b'gr\xfc\xdfe', *how, encoding='ascii')
    assert code==0 and not err and 'runs/gr\\xfc\\xdfe/model.mylib' in out, err
    page = (tmp_path/'runs'/os.fsdecode(b'gr\xfc\xdfe')/'report.html').read_text(encoding='utf-8')
    assert r'bild \xfc\x1b[31m' in page and '\x1b' not in page
    file,model = os.path.join(root, b'gr\xfc\xdfe', b'tea', b'bild \xfc\x1b[31m 0.png'),b'runs/gr\xfc\xdfe/model.mylib'
    for encoding in None,'ascii','utf-8':
        ask = (lambda *words: run('predict', *words)) if encoding is None else (lambda *words: run_here('predict', *words, encoding=encoding))
        code,out,err = ask(model, file)
        assert code==0 and not err and r'bild \xfc\x1b[31m 0.png' in out and out.rstrip('\n').replace('\t', '').isprintable()
        code,out,err = ask(model, file, '--json')
        assert code==0 and not err and os.fsencode(json.loads(out)['file'])==file


def test_a_checkpoint_of_files_that_are_no_utf8(tmp_path):
    "Their names are part of what tells one fit from another"
    from pathlib import Path
    from mylib.data.fingerprint import hash_items
    names = [Path(os.fsdecode(b'/a/bild \xfc.png')), Path('/a/größe.png')]
    assert hash_items(names, '/a/')!=hash_items(names[:1], '/a/') and len(hash_items([str(o) for o in names], '/a/'))==16


@pytest.mark.usefixtures('no_windows')
@pytest.mark.parametrize('label', ['$\\frac{$', 'from $5 to $10', 'caf\udce9', 'a\x1b[2J\u202eb'])
def test_a_label_is_drawn_as_it_is(label, capsys):
    "Neither a formula that is none nor half a character ends a plot"
    import matplotlib.pyplot as plt
    from mylib.core.show import show_image
    from mylib.data.block import CategoryBlock
    from mylib.data.datablock import DataBlock
    from mylib.data.split import IndexSplitter
    from mylib.interpret.classification import ClassificationInterpretation
    from mylib.nn.blocks import simple_cnn as cnn
    from mylib.learner.learner import Learner
    from mylib.vision.block import ImageBlock
    pixels = np.zeros((8, 16, 16, 3), np.uint8)
    block = DataBlock(blocks=(ImageBlock, CategoryBlock), get_x=lambda i: pixels[i], get_y=lambda i: label if i%2 else 'tea', splitter=IndexSplitter([0, 1, 2]))
    with Learner(block.dataloaders(list(range(8)), bs=2, device='cpu'), cnn([3, 4, 2])).no_bar() as learn:
        learn.fit(1)
        learn.dls.show_batch()
        learn.show_results()
        if label.isprintable(): ClassificationInterpretation.from_learner(learn).plot_confusion_matrix()
    for n in plt.get_fignums(): plt.figure(n).canvas.draw()
    assert plt.get_fignums()
    plt.close('all')
    if '$' in label: show_image(pixels[0], title=label).figure.canvas.draw()
