"The documentation site: every notebook goes through nbdev's processing, up to the point where Quarto takes over"
import json, shutil
from pathlib import Path

import pytest

import warm

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope='module')
def pages(tmp_path_factory):
    "The processed notebooks of a copy of the project"
    top = tmp_path_factory.mktemp('site')/'mylib'
    shutil.copytree(ROOT, top, symlinks=True, ignore=shutil.ignore_patterns('.git', '.venv', '_proc', '_docs', '__pycache__', 'runs', '*.egg-info'))
    done = warm.run('from nbdev.serve import proc_nbs; proc_nbs(n_workers=0, force=True)', cwd=top)
    assert done.returncode==0, done.stderr[-2000:]
    return top/'_proc'


def source_pages(): return [p.relative_to(ROOT/'nbs') for p in sorted((ROOT/'nbs').rglob('*.ipynb')) if '.ipynb_checkpoints' not in str(p)]


def test_every_notebook_is_a_page(pages):
    assert [p for p in source_pages() if not (pages/p).exists()]==[]


def test_signatures_are_shown_with_links_to_their_source(pages):
    text = (pages/'vision/32_learner.ipynb').read_text(encoding='utf-8')
    assert 'vision_learner' in text and 'github.com/mylib-team/mylib/blob/main/mylib/vision/learner.py' in text


def test_outputs_have_no_errors_or_noise():
    for p in source_pages():
        for c in json.loads((ROOT/'nbs'/p).read_text(encoding='utf-8'))['cells']:
            for o in c.get('outputs', []):
                assert o['output_type']!='error', p
                assert o.get('name')!='stderr', p
