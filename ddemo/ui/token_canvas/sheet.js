/* A row of cells on the page, and its legend: what the token canvas and the lanes of a comparison draw text with.
 *
 * makeSheet(page): `page` is an empty element of class dd-page. Cells are kept by place and touched only where
 * they changed; text reaches the page through textContent only. It returns
 *   slots                       the cells on the page, in order: {node, ink, cell}
 *   draw(cells, look)           cells as CanvasModel makes them; look = {masks, colour, longest}: which guesses
 *                               are shown, what the tint tells, the run's length in steps. False: nothing to do
 *   hold(run, cells, spare)     keeps the height that the run is going to need, and `spare` lines more; reads the
 *                               layout, so after drawing
 *   select(a, b, focus)         marks the places a..b; `focus` is where Tab arrives
 *   point(at, name)             outlines one place (null: none) for somebody else on the page; one place a name
 *   forget()                    the next draw looks at every cell again
 */
const CanvasSheet = (() => {
  'use strict';

  const M = CanvasModel;
  const NAMING_WAIT_MS = 250;
  // Early on the best guess at most masks is "the": by default a guess is shown once it is worth reading.
  const GUESS_FROM = {likely: 0.15, guess: 0, blocks: Infinity};
  const MOST_ENTROPY = 8; // nats: the end of the fixed entropy scale
  const DASH = '–';
  const MARKS = ['fresh', 'forced', 'locked', 'remasked', 'resampled', 'noise', 'pending', 'clash'];
  const SHOWN = ['gap', 'ink', 'part', 'begins', 'kind', 'typed', 'step', ...MARKS];

  function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  // Writing what is there already would still cost a style or layout pass.
  function setText(node, text) { if (node.textContent !== text) node.textContent = text; }
  function setHidden(node, hidden) { if (node.hidden !== hidden) node.hidden = hidden; }
  function setDisabled(node, disabled) { if (node.disabled !== disabled) node.disabled = disabled; }
  function setAttribute(node, name, value) {
    if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  }

  const probability = (p) => (p >= 0 ? p.toFixed(2).replace(/^0/, '') : DASH);

  function drawSegments(holder, segments) {
    const only = segments.length === 1 && segments[0].kind === 'text' ? segments[0].text : null;
    const first = holder.firstChild;
    if (only !== null && first && first.nodeType === Node.TEXT_NODE && !first.nextSibling) {
      if (first.data !== only) first.data = only; // nearly always: one word for another
      return;
    }
    const plain = (kind) => kind === 'text' || kind === 'break';
    holder.replaceChildren(...segments.map(({kind, text}) => (
      plain(kind) ? document.createTextNode(text) : make('span', `dd-${kind}`, text))));
  }

  const onOneLine = (text) => M.visible(text).filter((segment) => segment.kind !== 'break');

  // ---------------------------------------------------------------- cells

  const same = (a, b) => (a === b) || (Number.isNaN(a) && Number.isNaN(b));
  const sameCell = (a, b) => SHOWN.every((name) => same(a[name], b[name])) && same(a.p, b.p);
  const readable = (cell, look) => cell.masked && cell.confidence >= GUESS_FROM[look.masks];

  // In steps of a twentieth: finer ones nobody sees, and each costs styling.
  const fade = (cell) => (Math.round(20 * Math.sqrt(cell.confidence || 0)) / 20).toFixed(2);

  function colourValue(cell, look) {
    if (look.colour === 'probability') return cell.p;
    if (look.colour === 'entropy') return Math.min(1, cell.entropy / MOST_ENTROPY);
    if (look.colour !== 'order') return NaN;
    return cell.step / Math.max(1, look.longest);
  }

  function newCell(index) {
    const node = make('span', 'dd-cell');
    node.setAttribute('role', 'option');
    node.setAttribute('aria-selected', 'false');
    node.dataset.pos = index;
    node.tabIndex = -1;
    const gap = document.createTextNode('');
    const ink = make('span', 'dd-ink');
    node.append(gap, ink);
    return {node, gap, ink, cell: null, className: '', value: '', fade: ''};
  }

  function drawCell(slot, cell, guessed) {
    const classes = ['dd-cell', `dd-${cell.kind}`];
    for (const name of MARKS) if (cell[name]) classes.push(`dd-${name}`);
    const bare = cell.masked && !guessed;
    if (guessed) classes.push('dd-guessed');
    if (cell.part) classes.push('dd-part');
    const gap = bare ? (cell.begins ? '' : ' ') : cell.gap;
    if (slot.gap.data !== gap) slot.gap.data = gap;
    if (bare) setText(slot.ink, '\u00a0');
    else drawSegments(slot.ink, M.visible(cell.ink || cell.gap));
    const className = classes.join(' ');
    if (slot.className !== className) {
      slot.className = className;
      slot.node.className = className;
    }
  }

  function drawTint(slot, cell, look) {
    const amount = cell.masked ? fade(cell) : '';
    if (slot.fade !== amount) {
      slot.fade = amount;
      slot.ink.style.setProperty('--dd-sure', amount || '0');
    }
    const value = colourValue(cell, look), shade = value >= 0 ? value.toFixed(2) : '';
    if (slot.value !== shade) {
      slot.value = shade;
      slot.node.classList.toggle('dd-shaded', shade !== '');
      slot.ink.style.setProperty('--dd-value', shade || '0');
    } else if (shade !== '') slot.node.classList.add('dd-shaded');
  }

  function makeSheet(page) {
    const slots = [];
    let drawnCells = null, drawnLook = '';
    let heldRun = null, heldWidth = 0, reserve = 0;
    let marked = {a: -1, b: -2, tab: -1, length: 0};
    const pointed = {}; // name -> the node that carries the outline

    /* Names for a screen reader follow a moment after: a running step changes hundreds that nobody hears. */
    const unnamed = new Set();
    let namingTimer = 0;
    function nameLater(slot) {
      unnamed.add(slot);
      if (!namingTimer) namingTimer = setTimeout(nameCells, NAMING_WAIT_MS);
    }

    function nameCells() {
      namingTimer = 0;
      for (const slot of unnamed) setAttribute(slot.node, 'aria-label', M.spoken(slot.cell));
      unnamed.clear();
    }

    function draw(cells, look) {
      const style = `${look.masks} ${look.colour}`, restyled = style !== drawnLook;
      if (cells === drawnCells && !restyled) return false;
      while (slots.length > cells.length) slots.pop().node.remove();
      const added = [];
      cells.forEach((cell, index) => {
        let slot = slots[index];
        if (!slot) {
          slot = newCell(index);
          slots.push(slot);
          added.push(slot.node);
        }
        const guessed = readable(cell, look), before = slot.cell;
        const kept = before && !restyled && sameCell(before, cell) && readable(before, look) === guessed;
        if (!kept) drawCell(slot, cell, guessed);
        if (!kept || (cell.masked && !same(before.confidence, cell.confidence))) nameLater(slot);
        drawTint(slot, cell, look);
        slot.cell = cell;
      });
      if (added.length) page.append(...added);
      setAttribute(page, 'data-colour', look.colour);
      drawnCells = cells;
      drawnLook = style;
      return true;
    }

    /* The page keeps the height it is going to need, so that nothing under it moves while words arrive: an
     * estimate from the text at first, then the most it has needed. */
    function hold(run, cells, spare = 1) {
      const width = page.clientWidth;
      if (run !== null && (heldRun !== run.id || heldWidth !== width)) {
        heldRun = run.id;
        heldWidth = width;
        const style = getComputedStyle(page), em = parseFloat(style.fontSize);
        const room = width - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
        const lettersOf = (cell) => (cell.masked ? 5 : cell.gap.length + cell.ink.length);
        const letters = cells.reduce((sum, cell) => sum + lettersOf(cell), 0);
        const lines = Math.ceil((letters * em * 0.45) / Math.max(room, 100)) + spare;
        const padding = parseFloat(style.paddingTop) + parseFloat(style.paddingBottom);
        reserve = lines * parseFloat(style.lineHeight) + padding;
        page.style.setProperty('--dd-reserve', `${Math.round(reserve)}px`);
        page.scrollTop = 0;
      }
      if (page.scrollHeight > reserve) {
        reserve = page.scrollHeight;
        page.style.setProperty('--dd-reserve', `${reserve}px`);
      }
    }

    function select(a, b, focus) {
      const mark = (from, to, on) => {
        for (let i = Math.max(0, from); i <= to && i < slots.length; i += 1) {
          slots[i].node.classList.toggle('dd-selected', on);
          setAttribute(slots[i].node, 'aria-selected', String(on));
        }
      };
      if (marked.a !== a || marked.b !== b) mark(marked.a, marked.b, false);
      mark(a, b, true); // each time: a cell drawn anew has lost its mark
      const tab = Math.max(0, Math.min(slots.length - 1, focus));
      if (marked.tab !== tab || marked.length !== slots.length) {
        if (slots[marked.tab]) slots[marked.tab].node.tabIndex = -1;
        if (slots[tab]) slots[tab].node.tabIndex = 0;
      }
      marked = {a, b, tab, length: slots.length};
    }

    function point(at, name = 'dd-pointed') {
      const node = at !== null && slots[at] ? slots[at].node : null, before = pointed[name];
      if (before && before !== node) before.classList.remove(name);
      if (node) node.classList.add(name);
      pointed[name] = node;
    }

    function forget() { drawnCells = null; }

    return {slots, draw, hold, select, point, forget};
  }

  // ---------------------------------------------------------------- legend

  const LEGEND = [
    ['prompt', 'prompt', 'word'], ['noise', 'noise', 'word'], ['filled', 'written', 'word'],
    ['mask', 'mask, paler when surer', ''],
    ['fresh', 'just written', 'word'], ['forced', 'forced', 'word'], ['locked', 'locked', 'word'],
    ['remasked', 'masked again', ''], ['resampled', 'resampled', 'word'], ['pending', 'pending edit', 'word'],
    ['clash', 'clashes with its step', 'word'],
  ];
  const SCALES = {
    probability: ['probability when committed', '0', '1'],
    entropy: ['entropy, nats', '0', `${MOST_ENTROPY}+`],
    order: ['committed at step', '0', ''],
  };

  /* `holder` gets an entry for each mark; draw({marks, colour, longest}) shows those that occur (marks: name ->
   * whether it does) and the scale of the tint; `items` are the entries by mark. */
  function makeLegend(holder) {
    const kinds = {filled: 'dd-token', mask: 'dd-mask', prompt: 'dd-prompt', remasked: 'dd-mask dd-remasked'};
    const items = {};
    for (const [name, words, sample] of LEGEND) {
      const item = make('span', 'dd-legend-item');
      const cell = make('span', `dd-cell ${kinds[name] || `dd-token dd-${name}`}`);
      cell.append(make('span', 'dd-ink', sample || '\u00a0'));
      cell.setAttribute('aria-hidden', 'true');
      item.append(cell, make('span', '', words));
      items[name] = item;
      holder.append(item);
    }
    const scale = make('span', 'dd-legend-item dd-scale'), words = make('span', '');
    const low = make('span', 'dd-scale-end'), ramp = make('span', 'dd-ramp'), high = make('span', 'dd-scale-end');
    scale.append(words, low, ramp, high);
    holder.append(scale);

    function draw({marks, colour, longest}) {
      for (const [name] of LEGEND) setHidden(items[name], !marks[name]);
      const found = SCALES[colour];
      setHidden(scale, !found);
      if (!found) return;
      ramp.dataset.colour = colour;
      setText(words, `${found[0]} (bar and tint)`);
      setText(low, found[1]);
      setText(high, colour === 'order' && longest >= 0 ? String(longest) : found[2]);
    }

    return {draw, items};
  }

  return {
    DASH, make, setText, setHidden, setDisabled, setAttribute, probability, drawSegments, onOneLine,
    makeSheet, makeLegend,
  };
})();
