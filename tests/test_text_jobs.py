"`mylib train` and `mylib predict` on texts in folders and in tables: what they leave, say and refuse"
import json, re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mylib.core.testing import synth_texts
from mylib.deploy.load import load_learner

how = '--epochs', '3', '--lr', '2e-2', '--seed', '1', '--bs', '16'


def folder(path, df, encoding='utf-8'):
    for i,(text,label) in enumerate(df[['text', 'label']].values):
        file = path/label/f'{i:03d}.txt'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding=encoding)
    return path


def headings(page): return re.findall('<h2>(.*?)</h2>', page)


def test_a_folder_of_texts(run, tmp_path):
    data = folder(tmp_path/'reviews', synth_texts(100))
    code,out,err = run('train', data, *how)
    assert code==0 and not err and 'taken for a folder of texts' in out and '80 training and 20 validation texts of 2 classes' in out
    page = (tmp_path/'runs/reviews/report.html').read_text(encoding='utf-8')
    assert {'Samples', 'Confusion matrix', 'Top losses'}<=set(headings(page)) and 'xxbos' in page
    model = 'runs/reviews/model.mylib'
    # long and short texts, which go through the model in another order than they were asked in
    texts = ['dull', 'A great film. '*30, 'This meal was awful', 'lovely and clever '*4]
    code,out,err = run('predict', model, *texts, '--json')
    rows = [json.loads(o) for o in out.splitlines()]
    learn = load_learner(model)
    assert code==0 and not err and [r['file'] for r in rows]==texts
    for r in rows: np.testing.assert_allclose(list(r['probabilities'].values()), learn.predict(r['file'])[2].numpy(), atol=1e-5)
    assert [r['label'] for r in rows]==['neg', 'pos', 'neg', 'pos']
    one = next((data/'pos').iterdir())
    code,out,_ = run('predict', model, one, data/'neg')
    assert code==0 and [o.split('\t')[0] for o in out.splitlines()]==[str(o) for o in (one, *sorted((data/'neg').iterdir()))]
    assert run('lr-find', data)[0]==0 and run('info', model)[0]==0


def test_a_folder_that_is_split(run, tmp_path):
    df = synth_texts(60)
    data = folder(tmp_path/'reviews'/'train', df[:45]).parent
    folder(data/'test', df[45:])
    code,out,err = run('train', data, *how)
    assert code==0 and '45 training and 15 validation texts' in out and "split by its folders 'train' for training and 'test'" in err
    code,out,_ = run('train', data, '--valid', 0.5, *how)
    assert code==0 and '30 training and 30 validation texts' in out
    code,out,_ = run('train', data/'train', '--valid', data/'test', *how)
    assert code==0 and '45 training and 15 validation texts' in out


@pytest.mark.parametrize('column,words,target', [
    ('label', (), 'Confusion matrix'), ('stars', ('--numbers',), 'Predicted numbers'), ('stars', ('--classes',), 'Confusion matrix'), ('tags', (), 'Labels')])
def test_a_table_of_texts(run, tmp_path, column, words, target):
    df = synth_texts(100)
    df = df.assign(stars=df.label.map(dict(neg=1, pos=5)), tags=df.label.map(dict(neg='bad', pos='good'))+[['', ';new'][i%2] for i in range(100)], is_valid=[i%4==0 for i in range(100)])
    df[['text', column, 'is_valid']].to_csv('reviews.csv', index=False)
    code,out,err = run('train', 'reviews.csv', *words, *how)
    assert code==0 and '75 training and 25 validation texts' in out and "The column 'text' is taken for the texts" in err and '--as table' in err
    assert ('split at' in err)==(column=='tags')
    assert target in headings((tmp_path/'runs/reviews/report.html').read_text(encoding='utf-8'))
    df[['stars', 'text']][:9].to_csv('new.csv', index=False)
    code,out,err = run('predict', 'runs/reviews/model.mylib', 'new.csv', '--json')
    rows = [json.loads(o) for o in out.splitlines()]
    assert code==0 and not err and [r['file'] for r in rows]==[f'new.csv:{i+1}' for i in range(9)]
    learn = load_learner('runs/reviews/model.mylib')
    for r,text in zip(rows, df.text):
        want = learn.predict(text)
        if column=='label': assert r['label']==want[0] and abs(max(want[2].tolist())-r['probability'])<1e-5
        if target=='Predicted numbers': np.testing.assert_allclose(r['label'], want[0], atol=1e-4)


def test_what_a_stranger_wrote_is_shown_and_not_obeyed(run, tmp_path):
    df = synth_texts(60)
    df.text = '<script>alert(1)</script> \u202eabc \x1b[31m שלום <b>bold</b> '+df.text
    df.to_csv('odd.csv', index=False)
    code,out,err = run('train', 'odd.csv', *how)
    page = (tmp_path/'runs/odd/report.html').read_text(encoding='utf-8')
    assert code==0 and '<script' not in page and '<b>bold' not in page and '\u202e' not in page and 'שלום' in page and '\x1b' not in out+err+page
    code,out,_ = run('predict', 'runs/odd/model.mylib', df.text[0])
    assert code==0 and '\x1b' not in out and '\u202e' not in out


def mistake(kind):
    "Make data that a training cannot begin with; return the words of the command"
    df = synth_texts(60)
    if kind=='no label': df.loc[:3, 'label'] = None
    if kind=='one class': df['label'] = 'one'
    if kind=='label in validation alone': df = df.assign(label=['rare', *df.label[1:]], is_valid=[i%5==0 for i in range(60)])
    if kind=='no label column': df = df[['text']]
    if kind=='one row': df = df[:1]
    if 'latin' in kind: df['text'] += ' Größe'
    if kind=='latin-1 files': folder(Path('texts'), df, 'latin-1')
    elif kind=='an empty folder': Path('texts/a').mkdir(parents=True)
    else: df.to_csv('texts.csv', index=False, header=kind!='no header', encoding='latin-1' if 'latin' in kind else None)
    return 'texts' if kind in ('latin-1 files', 'an empty folder') else 'texts.csv'


@pytest.mark.parametrize('kind,fix', [
    ('no label', 'Leave out items without a label'), ('one class', 'a classifier needs at least two'), ('one row', 'The validation set is empty'),
    ('label in validation alone', 'if its category is in the validation set alone'), ('no label column', 'there is nothing to predict'),
    ('latin-1 files', 'Convert it: iconv -f latin-1 -t utf-8'), ('latin-1 table', 'Convert it: iconv -f latin-1 -t utf-8'),
    ('no header', 'Put a line of names before it'), ('an empty folder', 'There is no image in')])
def test_a_mistake_is_told_before_a_model_is_made(run, tmp_path, kind, fix):
    code,out,err = run('train', mistake(kind), *how)
    assert code==2 and fix in err.splitlines()[-1], err
    assert not (tmp_path/'runs').exists()


def test_empty_and_missing_texts_are_counted(run):
    df = synth_texts(60)
    df.loc[:5, 'text'] = None
    df.to_csv('texts.csv', index=False)
    code,_,err = run('train', 'texts.csv', *how)
    assert code==0 and 'are missing and taken for empty' in err
    code,out,err = run('predict', 'runs/texts/model.mylib', '', 'none.txt', 'a text')
    assert code==1 and len(out.splitlines())==2 and 'Check the path' in err and '1 are empty' in err


def test_short_words_and_numbers_stay_a_table(run):
    df = pd.DataFrame(dict(name=[f'Mr. John {"ABCDEFGH"[i%8]}. Smith' for i in range(40)], age=range(40), rich=['no', 'yes']*20))
    df.to_csv('people.csv', index=False)
    code,out,_ = run('train', 'people.csv', '--target', 'rich', '--epochs', 1, '--lr', 0.01)
    assert code==0 and 'taken for a table\n' in out
    synth_texts(40).to_csv('texts.csv', index=False)
    code,out,_ = run('train', 'texts.csv', '--as', 'table', '--target', 'label', '--epochs', 1, '--lr', 0.01)
    assert code==0 and 'training and' in out and 'rows' in out
    code,_,err = run('train', 'texts.csv', '--size', 3)
    assert code==2 and '--size says nothing for a table of texts' in err


def test_a_training_that_was_stopped_goes_on(run, tmp_path, monkeypatch):
    synth_texts(100).to_csv('texts.csv', index=False)
    assert run('train', 'texts.csv', *how, '--out', 'whole')[0]==0
    from mylib.callback.log import CSVLogger
    begun = CSVLogger.after_epoch
    def _stop(self, run):
        begun(self, run)
        if run.epoch==1: raise KeyboardInterrupt
    monkeypatch.setattr(CSVLogger, 'after_epoch', _stop)
    code,_,err = run('train', 'texts.csv', *how, '--out', 'parts')
    assert code==130 and '--resume --out parts' in err
    monkeypatch.setattr(CSVLogger, 'after_epoch', begun)
    code,_,err = run('train', '--resume', '--out', 'parts')
    assert code==0, err
    a,b = (load_learner(f'{o}/model.mylib').model.state_dict() for o in ('whole', 'parts'))
    assert all((a[k]==b[k]).all() for k in a)
