/* The Models tab: a table of checkpoints, and the panel of the one that is open under its row.
 *
 * mountModels(element, host): `element` contains models.html. host = {
 *   trigger(name, data)   tells Python: "look", "check", "fetch", "bring" {name, dtype, length, lanes, force}, "leave",
 *                         "use" {name}
 *   value, watch(fn)      the message on show, and those that follow (JSON, see model.js)
 *   public                whether it only shows
 *   use                   {dtype, length, lanes} that memory is estimated for at first
 * }
 * Text reaches the page through textContent only.
 */
function mountModels(element, host) {
  'use strict';

  const ESTIMATE_WAIT_MS = 300;
  const NAMES = {check: 'check', fetch: 'fetch', load: 'load', use: 'use-it', leave: 'leave'};
  const EVENTS = {load: 'bring'}; // Gradio keeps "load" for itself: whatever hears it is called when a page opens
  const CELLS = [['parameters', 'Parameters', 'ddm-number'], ['bytes', 'Size', 'ddm-number'],
    ['context', 'Context', 'ddm-number'], ['licence', 'Licence', 'ddm-licence'], ['where', 'Where', 'ddm-where']];
  const ui = {};
  element.querySelectorAll('[data-ddm]').forEach((node) => { ui[node.dataset.ddm] = node; });
  ui.block.classList.toggle('ddm-public', host.public);

  let state = ModelsModel.initial();
  let timer = 0;
  let filled = null; // name of the panel on show
  const lines = new Map(); // id -> {line, button, cells}
  const bodies = new Map(ModelsModel.GROUPS.map(([group, title]) => [group, body(title)]));
  const place = document.createElement('tr'); // of the panel
  const cell = make('td', '', 'ddm-panel-cell');
  place.className = 'ddm-panel-line';
  place.setAttribute('role', 'row');
  cell.setAttribute('role', 'cell');
  cell.colSpan = 8;
  place.append(cell);
  cell.append(ui.panel);
  ui.panel.hidden = false;
  ui.panel.id = 'ddm-panel';

  function make(tag, text = '', kind = '') {
    const node = document.createElement(tag);
    if (text) node.textContent = text;
    if (kind) node.className = kind;
    return node;
  }

  function setText(node, text) { if (node.textContent !== text) node.textContent = text; }

  // ---------------------------------------------------------------- the table

  function body(title) {
    const group = document.createElement('tbody'), line = document.createElement('tr'), head = make('th', title, 'ddm-group');
    group.setAttribute('role', 'rowgroup');
    line.setAttribute('role', 'row');
    line.className = 'ddm-group-line';
    head.setAttribute('role', 'rowheader');
    head.scope = 'rowgroup';
    head.colSpan = 8;
    line.append(head);
    group.append(line);
    return group;
  }

  function lineOf(id) {
    if (lines.has(id)) return lines.get(id);
    const line = document.createElement('tr'), head = document.createElement('th');
    const button = make('button', '', 'ddm-name'), owner = make('span', '', 'ddm-owner'), short = make('span');
    const hint = make('span', '', 'ddm-hint');
    line.className = 'ddm-line';
    line.setAttribute('role', 'row');
    head.setAttribute('role', 'rowheader');
    head.scope = 'row';
    button.type = 'button';
    button.tabIndex = -1;
    button.append(owner, short);
    head.append(button, hint);
    line.append(head);
    const cells = {};
    const add = (part, label, kind) => {
      cells[part] = make('td', '', kind);
      cells[part].setAttribute('role', 'cell');
      cells[part].dataset.label = label;
      line.append(cells[part]);
    };
    add('noise', 'Noise, family', '');
    CELLS.forEach((given) => add(...given));
    add('memory', 'Memory here', 'ddm-memory');
    const sign = make('span', '', 'ddm-sign'), word = make('span');
    sign.setAttribute('aria-hidden', 'true');
    cells.memory.append(sign, word);
    button.addEventListener('click', () => toggle(id));
    line.addEventListener('click', (event) => { if (!event.target.closest('button, a')) toggle(id); });
    const made = {line, button, owner, short, hint, cells, sign, word};
    lines.set(id, made);
    return made;
  }

  function fillLine(row) {
    const {line, button, owner, short, hint, cells, sign, word} = lineOf(row.id);
    const at = row.id.startsWith('/') || row.id.split('/').length !== 2 ? 0 : row.id.indexOf('/') + 1;
    setText(owner, row.id.slice(0, at));
    setText(short, row.id.slice(at));
    setText(hint, row.try);
    const kinds = [row.noise, row.family].filter(Boolean).join(', ');
    setText(cells.noise, kinds || 'not known yet');
    for (const [part] of CELLS) {
      setText(cells[part], ModelsModel.told(row, part));
      cells[part].classList.toggle('ddm-unknown', !row[part]);
    }
    const panel = state.panels[row.id], work = panel && panel.work;
    if (work) setText(cells.where, work.share === undefined ? BUSY[work.kind] : `fetching, ${Math.floor(100 * work.share)} %`);
    const {sign: shape, word: said, kind} = ModelsModel.verdict(row);
    setText(sign, shape);
    setText(word, said);
    cells.memory.dataset.kind = kind;
    button.setAttribute('aria-expanded', String(state.open === row.id));
    if (state.open === row.id) button.setAttribute('aria-controls', 'ddm-panel');
    else button.removeAttribute('aria-controls');
    line.classList.toggle('ddm-open', state.open === row.id);
    line.classList.toggle('ddm-chosen', row.id === document.documentElement.dataset.checkpoint);
  }

  const BUSY = {check: 'asking the Hub', fetch: 'fetching', read: 'fetching', load: 'loading'};

  function draw() {
    const within = element.contains(document.activeElement);
    drawAll();
    if (within && !element.contains(document.activeElement) && state.open !== null) { // its row has become another
      lineOf(state.open).button.focus({preventScroll: true});
    }
  }

  function drawAll() {
    const rows = ModelsModel.listed(state), shown = new Set(ModelsModel.found(rows, ui.search.value).map((row) => row.id));
    for (const [group, node] of bodies) {
      const own = rows.filter((row) => row.group === group), wanted = [node.firstChild];
      for (const row of own) {
        fillLine(row);
        const {line} = lineOf(row.id), visible = shown.has(row.id) || row.id === state.open;
        line.hidden = !visible;
        wanted.push(line);
        if (row.id === state.open) wanted.push(place);
      }
      node.hidden = !own.some((row) => shown.has(row.id) || row.id === state.open);
      keepFocus(() => arrange(node, wanted));
      if (!node.parentNode) ui.table.append(node);
    }
    if (!rows.some((row) => row.id === state.open)) place.remove();
    for (const [id, {line}] of lines) if (!rows.some((row) => row.id === id)) { line.remove(); lines.delete(id); }
    setText(ui.count, ModelsModel.counted(shown.size, rows.length));
    ui.none.hidden = shown.size > 0;
    setText(ui['named-say'], state.refused.say);
    ui['named-say'].dataset.kind = state.refused.say ? 'error' : '';
    rove();
    fillPanel();
  }

  // What is in its place already stays there: the window would lose its own otherwise.
  function arrange(node, wanted) {
    wanted.forEach((child, at) => { if (node.children[at] !== child) node.insertBefore(child, node.children[at] || null); });
    while (node.children.length > wanted.length) node.lastChild.remove();
  }

  function keepFocus(change) {
    const active = document.activeElement;
    change();
    if (active && active !== document.activeElement && element.contains(active)) active.focus({preventScroll: true});
  }

  // One stop for Tab in the whole list; arrows move inside.
  const reachable = () => [...ui.table.querySelectorAll('.ddm-name')].filter((button) => !button.closest('[hidden]'));

  function rove(to = null) {
    const buttons = reachable(), open = lines.get(state.open);
    const now = to || buttons.find((button) => button === document.activeElement)
      || buttons.find((button) => button.tabIndex === 0) || (open && open.button) || buttons[0];
    for (const button of ui.table.querySelectorAll('.ddm-name')) button.tabIndex = button === now ? 0 : -1;
  }

  ui.table.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && state.open !== null && !event.defaultPrevented) {
      const {button} = lineOf(state.open);
      toggle(state.open);
      button.focus();
      return;
    }
    if (!event.target.classList.contains('ddm-name')) return;
    const buttons = reachable(), at = buttons.indexOf(event.target);
    const to = {ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1}[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = buttons[Math.max(0, Math.min(buttons.length - 1, to))];
    rove(next);
    next.focus();
  });

  function toggle(id) {
    state = {...state, open: state.open === id ? null : id, refused: {name: '', say: '', kind: ''}};
    draw();
    if (state.open !== null) ask('look');
  }

  // ---------------------------------------------------------------- the panel

  function facts(node, pairs) {
    const wanted = pairs.map(([label, words]) => `${label}\n${words}`).join('\n\n');
    if (node.dataset.told === wanted) return;
    node.dataset.told = wanted;
    node.replaceChildren(...pairs.flatMap(([label, words]) => [make('dt', label), make('dd', words)]));
  }

  function fillPanel() {
    const row = ModelsModel.listed(state).find(({id}) => id === state.open);
    if (!row) { filled = null; return; }
    const panel = state.panels[row.id] || {};
    const first = filled !== row.id;
    filled = row.id;
    ui.panel.setAttribute('aria-label', row.id);
    if (first) ui.force.checked = false;
    setText(ui.try, row.try ? `To try: ${row.try}` : '');
    setText(ui.note, panel.note || '');
    facts(ui.about, panel.about || []);
    facts(ui.settings, panel.settings || []);
    ui.settings.previousElementSibling.hidden = !(panel.settings || []).length;
    ui.source.parentNode.hidden = !panel.source;
    if (panel.source && panel.source.startsWith('https://')) ui.source.href = panel.source;
    fillFit(panel);
    fillWork(panel);
    ui.measured.replaceChildren(...(panel.measured || []).map(([label, ...numbers]) => {
      const line = document.createElement('tr'), head = make('th', label);
      head.scope = 'row';
      line.append(head, ...numbers.map((number) => make('td', number)));
      return line;
    }));
    ui.found.hidden = !(panel.measured || []).length;
    ui.checked.hidden = !(panel.checks || []).length;
    ui.checks.replaceChildren(...(panel.checks || []).map((sentence) => make('li', sentence)));
  }

  function fillFit(panel) {
    const fit = panel.fit || null;
    ui.fit.hidden = !fit;
    if (!fit) return;
    setText(ui['fit-head'], panel.loaded ? 'In another type of weights?' : 'Does it fit?');
    facts(ui.parts, fit.parts);
    setText(ui.verdict, fit.say);
    ui.verdict.hidden = !fit.say;
    ui.verdict.dataset.kind = fit.verdict.replaceAll(' ', '-') || 'unknown';
    ui.verdict.dataset.sign = ModelsModel.verdict({memory: fit.verdict}).sign;
    setText(ui.disk, panel.disk || '');
  }

  function fillWork(panel) {
    const {there, next} = ModelsModel.buttons(panel), work = panel.work || null;
    const active = document.activeElement;
    for (const [what, name] of Object.entries(NAMES)) {
      ui[name].hidden = !there.includes(what);
      ui[name].classList.toggle('ddm-next', what === next);
    }
    setText(ui.load, panel.loaded ? 'Load again' : 'Load');
    const chosen = panel.id && panel.id === document.documentElement.dataset.checkpoint;
    setText(ui['use-it'], chosen ? 'Go to Denoise' : 'Use');
    ui['force-field'].hidden = !(there.includes('load') && panel.fit && panel.fit.refused);
    ui.bar.hidden = !work;
    if (work && work.share !== undefined) ui.bar.value = work.share;
    else ui.bar.removeAttribute('value');
    ui.bar.setAttribute('aria-label', work ? BUSY[work.kind] : '');
    setText(ui.work, work ? work.text : '');
    ui.leave.title = work && work.kind === 'load' ? 'What was there before stays' : 'What has arrived is kept';
    setText(ui.say, panel.can || panel.say ? panel.say || '' : 'One moment …');
    ui.say.dataset.kind = panel.kind || '';
    if (active && active.hidden && ui.panel.contains(active)) {
      const to = [...ui.panel.querySelectorAll('.ddm-buttons button')].find((button) => !button.hidden);
      if (to) to.focus();
      else lineOf(state.open).button.focus();
    }
  }

  const number = (field) => (/^\d+$/.test(field.value) ? Number(field.value) : field.value);

  function ask(what) {
    const name = state.open;
    if (name === null) return;
    const use = {dtype: ui.dtype.value, length: number(ui.length), lanes: number(ui.lanes)};
    host.trigger(EVENTS[what] || what, {name, force: ui.force.checked, ...use});
  }

  const FIRST = {check: 'Asking the Hub …', fetch: 'Beginning …', load: 'Beginning to load …'};
  for (const what of ['check', 'fetch', 'load']) {
    ui[what].addEventListener('click', () => {
      const told = {...(state.panels[state.open] || {}), name: state.open, work: {kind: what, text: FIRST[what]}, say: ''};
      ask(what);
      state = {...state, panels: {...state.panels, [state.open]: told}};
      draw();
    });
  }
  ui.leave.addEventListener('click', () => ask('leave'));
  ui['use-it'].addEventListener('click', () => {
    const {id} = state.panels[state.open] || {};
    if (id) host.trigger('use', {name: id});
  });
  for (const field of [ui.length, ui.lanes, ui.dtype]) {
    field.addEventListener('input', () => {
      clearTimeout(timer);
      timer = setTimeout(() => ask('look'), ESTIMATE_WAIT_MS);
    });
  }

  // ---------------------------------------------------------------- the tools above

  ui.search.addEventListener('input', draw);
  ui.search.addEventListener('keydown', (event) => {
    if (event.key !== 'ArrowDown') return;
    event.preventDefault();
    const [first] = reachable();
    if (first) { rove(first); first.focus(); }
  });
  ui.named.addEventListener('submit', (event) => {
    event.preventDefault();
    const typed = ui.name.value.trim();
    if (!typed) return;
    state = ModelsModel.name(state, typed);
    draw();
    ask('look');
  });

  function take(text) {
    let message;
    try {
      message = JSON.parse(text || '{}');
    } catch (problem) {
      console.warn(`models: ignored a message that is not JSON: ${problem.message}`);
      return;
    }
    state = ModelsModel.receive(state, message);
    draw();
  }

  const chosen = new MutationObserver(() => {
    if (element.isConnected) draw();
    else chosen.disconnect(); // Gradio may throw the block away and make another
  });
  chosen.observe(document.documentElement, {attributes: true, attributeFilter: ['data-checkpoint']});

  for (const [field, value] of Object.entries(host.use)) ui[field].value = value;
  take(host.value);
  host.watch(take);
}
