"`mylib train` and `mylib predict` on images with masks, with several labels and with numbers: what they leave, say and refuse"
import json, re

import numpy as np
import pandas as pd
import pytest
from PIL import Image


how = '--arch', 'mobilenetv2_100', '--no-pretrained', '--epochs', '1', '--size', '32', '--lr', '1e-3', '--seed', '1'


def draw(rng, size=(48, 40)):
    "A picture with a bright box in it, and the mask of the box"
    mask = np.zeros(size[::-1], dtype=np.uint8)
    x,y = rng.integers(2, 20, 2)
    mask[y:y+14,x:x+16] = 1
    return Image.fromarray((rng.integers(0, 90, (*mask.shape, 3))+mask[...,None]*150).astype(np.uint8)), Image.fromarray(mask)


def streets(path, n=12):
    rng = np.random.default_rng(0)
    for o in 'images','labels': (path/o).mkdir(parents=True)
    for k in range(n):
        image,mask = draw(rng)
        image.save(path/'images'/f'{k} a.jpg')
        mask.save(path/'labels'/f'{k} a_P.png')
    (path/'codes.txt').write_text('ground\nbox\n')
    return path


def album(path, n=12):
    rng = np.random.default_rng(0)
    (path/'pictures').mkdir(parents=True)
    for k in range(n): draw(rng)[0].save(path/'pictures'/f'{k}.png')
    df = pd.DataFrame(dict(file=[f'{k}.png' for k in range(n)], tags=['red;big' if k%3==0 else 'big' if k%3==1 else 'red' for k in range(n)],
                           size=[k/3 for k in range(n)], is_valid=[k%4==0 for k in range(n)]))
    df.to_csv(path/'table.csv', index=False)
    return path


def test_masks(run, tmp_path):
    data = streets(tmp_path/'streets')
    code,out,err = run('train', data, *how)
    assert code==0 and not err and 'taken for a folder of images and masks' in out and '10 training and 2 validation images of 2 classes' in out
    page = (tmp_path/'runs/streets/report.html').read_text(encoding='utf-8')
    headings = re.findall('<h2>(.*?)</h2>', page)
    assert headings[-3:]==['Classes of pixels', 'Top losses', 'What to do next']
    assert page.count('>prediction')==2 and '</span> box</span>' in page
    code,out,err = run('predict', 'runs/streets/model.mylib', data/'images'/'0 a.jpg', '--json')
    assert code==0 and not err and len(out)<2000
    shares = json.loads(out)['label']
    assert set(shares)<={'ground', 'box'} and abs(sum(shares.values())-1)<1e-6


@pytest.mark.parametrize('words,target,valid', [((), 'MultiCategoryBlock', 3), (('--target', 'size'), 'RegressionBlock', 3), (('--classes', '--valid', '0.5'), 'CategoryBlock', 6)])
def test_a_table_beside_the_images(run, tmp_path, words, target, valid):
    data = album(tmp_path/'album')
    code,out,err = run('train', data, *how, *words)
    assert code==0 and f'{12-valid} training and {valid} validation' in out, err
    page = (tmp_path/'runs/album/report.html').read_text(encoding='utf-8')
    section = dict(MultiCategoryBlock='Labels', RegressionBlock='Predicted numbers', CategoryBlock='Confusion matrix')[target]
    assert section in re.findall('<h2>(.*?)</h2>', page)
    assert ('split at' in err)==(target=='MultiCategoryBlock')
    code,out,err = run('info', 'runs/album/model.mylib')
    assert code==0 and target in out
    code,out,err = run('predict', 'runs/album/model.mylib', data/'pictures')
    assert code==0 and not err and len(out.splitlines())==12


def broken(kind, path):
    "Data with one mistake, and what the one line about it says"
    if kind=='no mask':
        (streets(path)/'labels'/'3 a_P.png').unlink()
        return '1 of 12 images have no mask'
    if kind=='unknown code':
        a = np.zeros((40, 48), dtype=np.uint8); a[3] = 7
        Image.fromarray(a).save(streets(path)/'labels'/'3 a_P.png')
        return '7'
    if kind=='other size':
        Image.fromarray(np.zeros((20, 20), dtype=np.uint8)).save(streets(path)/'labels'/'3 a_P.png')
        return '3 a'
    if kind=='missing file':
        (album(path)/'pictures'/'5.png').unlink()
        return '5.png'
    if kind=='label without a value':
        df = pd.read_csv(album(path)/'table.csv')
        df.loc[4, 'tags'] = None
        df.to_csv(path/'table.csv', index=False)
        return 'tags' # as several labels it would be none, which is a note


@pytest.mark.parametrize('kind', ['no mask', 'unknown code', 'other size', 'missing file', 'label without a value'])
def test_a_mistake_in_the_data_is_told_before_a_model_is_made(run, tmp_path, kind):
    said = broken(kind, tmp_path/'data')
    code,out,err = run('train', 'data', *how, *(['--classes'] if kind=='label without a value' else []))
    last = err.strip().splitlines()[-1]
    assert code==2 and last.startswith('mylib: ') and said in last, err
    assert not list(tmp_path.glob('runs/*/model.mylib'))
