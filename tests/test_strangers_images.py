"""Images from strangers: none starts a program or opens a connection, whatever its bytes are and whatever it is called"""
import ast, io, struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mylib
from mylib.data.items import image_extensions
from mylib.vision.decode import image_formats
from watched import Watched, needs_linux

looped = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\n{} loop\n%%EOF\n'


def written(format):
    "A picture as Pillow writes it in that format, or None if it writes none"
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    for mode in 'RGB','L','1','P','F':
        try: Image.fromarray(pixels).convert(mode).save(f := io.BytesIO(), format=format)
        except Exception: continue
        return f.getvalue()


def pictures():
    "Bytes by name, of everything that Pillow can write, and of what it can only read"
    Image.init()
    yield from ((o, raw) for o in sorted({*Image.SAVE, *Image.OPEN}) if (raw := written(o)))
    yield 'a loop in PostScript', looped
    yield 'PostScript with a preview', struct.pack('<4sLL5L', b'\xc5\xd0\xd3\xc6', 32, len(looped), 0, 0, 0, 0, 0)+looped
    yield 'PostScript after a blank line', b'\n'+looped
    yield 'a Windows metafile', struct.pack('<LH4hHLH', 0x9ac6cdd7, 0, 0, 0, 16, 16, 96, 0, 0)+b'\1\0\t\0'+bytes(60)
    yield 'an enhanced metafile', struct.pack('<2L', 1, 108)+bytes(32)+b' EMF'+bytes(64)
    yield 'XBM', b'#define a_width 16\n#define a_height 16\nstatic char a_bits[] = {\n'+b'0x00,'*32+b'};'
    yield 'XPM', b'/* XPM */\nstatic char *a[] = {"16 16 1 1", "a c #000000", '+b','.join([b'"'+b'a'*16+b'"']*16)+b'};'
    yield 'SVG with an address', b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:9/x.png"/></svg>'


@pytest.fixture(scope='module')
def box(tmp_path_factory):
    "A process that has opened an image of each kind, so that what is lazy is there"
    home = tmp_path_factory.mktemp('home')
    box = Watched(home)
    for kind in image_formats():
        (home/'warm.png').write_bytes(written(kind))
        box('warm', 'look', str(home/'warm.png'))
    yield box
    box.close()


@needs_linux
@pytest.mark.parametrize('name', ['cat.png', 'cat.jpg', 'cat.eps', 'cat'])
def test_no_image_starts_a_program(name, box, tmp_path):
    "Those of our formats are opened in each way, the others in none"
    file,bad = tmp_path/name,[]
    for kind,raw in pictures():
        file.write_bytes(raw)
        res = box('look', str(file))
        found = set(map(str, (res['result'] or {}).values()))
        right = found>={'True', '[16, 16]'} and 'UsageError' not in found if kind in image_formats() else found=={'False', 'UsageError'}
        if not right and kind not in ('MPO', 'DIB'): bad.append((kind, res)) # an MPO is a JPEG and more
        if res['events'] or res['error']: bad.append((kind, res))
    assert not bad, '\n'.join(map(str, bad))


@needs_linux
def test_the_watch_sees_what_pillow_starts(box, tmp_path):
    "Else the test above would prove nothing"
    (tmp_path/'cat.png').write_bytes(looped)
    res = box('pillow', str(tmp_path/'cat.png'))
    assert any(o.startswith('subprocess.Popen') for o in res['events']), res


def test_every_opening_names_its_formats():
    "In the whole package, `Image.open` is called with formats"
    opened = [(path.name, o) for path in Path(mylib.__file__).parent.rglob('*.py') for o in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
              if isinstance(o, ast.Call) and isinstance(o.func, ast.Attribute) and o.func.attr=='open' and getattr(o.func.value, 'id', '') in ('Image', 'PIL')]
    assert opened and all('formats' in {k.arg for k in o.keywords} for _,o in opened), opened


def test_the_formats_are_those_of_the_extensions():
    Image.init()
    assert set(image_formats())=={Image.registered_extensions()[o] for o in image_extensions if o in Image.registered_extensions()}
