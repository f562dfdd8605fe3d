/* Lanes on the page: draws what LanesModel says, each lane's text by CanvasSheet, and plays all with one player.
 *
 * mountLanes(element, host): `element` contains lanes.html. host = {
 *   value        the message to begin with, a JSON string
 *   watch(fn)    calls fn with each message that follows
 *   server       {messages(run, n)}, which answers with a JSON list; missing on a page without a server
 * }
 * Text reaches the page through textContent only. Messages that come faster than the screen are drawn at once.
 * Playing and scrubbing ask nobody anything, and nothing outside `element` is listened to.
 */
function mountLanes(element, host) {
  'use strict';

  const L = LanesModel, M = CanvasModel;
  const {DASH, make, setText, setHidden, setDisabled, setAttribute} = CanvasSheet;
  const {probability, drawSegments, onOneLine} = CanvasSheet;
  const CANDIDATES = 3; // a lane in the panel
  const HINT = 'Point at a token to see it in every lane. Click it to keep it here.';
  const ui = {};
  element.querySelectorAll('[data-ddn]').forEach((node) => { ui[node.dataset.ddn] = node; });
  const block = ui.block;

  let state = L.initial();
  const options = {masks: 'likely', colour: 'none', dim: false};
  let scheduled = false;

  function update(next) {
    if (next === state) return;
    state = next;
    schedule();
  }

  function schedule() {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame((now) => {
      scheduled = false;
      state = L.tick(state, now);
      render();
      if (state.playing) schedule();
    });
  }

  // ---------------------------------------------------------------- lanes

  let rows = [], rowsOf = null; // {label, page, sheet, facts, say, dimmed}, of which comparison

  function newRow(lane) {
    const item = make('li', 'ddn-lane'), about = make('div', 'ddn-about'), text = make('div', 'ddn-text');
    const page = make('div', 'dd-page'), facts = make('p', 'ddn-facts'), say = make('p', 'ddn-say');
    setAttribute(page, 'role', 'listbox');
    setAttribute(page, 'aria-label', `Tokens of ${lane.label}`);
    setAttribute(page, 'dir', 'auto');
    about.append(make('h3', 'ddn-label', lane.label), make('p', 'ddn-line', lane.about), facts, say);
    text.append(page);
    item.append(about, text);
    page.dataset.lane = rows.length;
    return {item, page, facts, say, sheet: CanvasSheet.makeSheet(page), dimmed: []};
  }

  function buildRows() {
    if (rowsOf === state.id && rows.length === state.lanes.length) return;
    rowsOf = state.id;
    rows = [];
    for (const lane of state.lanes) rows.push(newRow(lane));
    ui.lanes.replaceChildren(...rows.map((row) => row.item));
    buildPanel();
  }

  function drawLanes() {
    const look = {masks: options.masks, colour: options.colour, longest: L.longest(state)};
    const drawn = state.lanes.map((lane, i) => {
      const cells = lane.canvas ? M.cells(lane.canvas) : [];
      return rows[i].sheet.draw(cells, look) && lane.canvas ? {i, cells, run: L.runOf(lane)} : null;
    });
    state.lanes.forEach((lane, i) => drawLaneStatus(rows[i], L.laneStatus(state, i)));
    drawMarks();
    drawDim();
    // Last of all, since it reads the layout.
    for (const lane of drawn) if (lane) rows[lane.i].sheet.hold(lane.run, lane.cells, 0);
  }

  function drawLaneStatus(row, {kind, text, facts}) {
    setAttribute(row.item, 'data-state', kind);
    setText(row.facts, facts);
    setText(row.say, text);
  }

  function drawMarks() {
    const {pinned, hover} = state, focus = L.pointedAt(state);
    rows.forEach(({sheet}) => {
      const [a, b] = pinned ? [pinned.at, pinned.at] : [-1, -2];
      sheet.select(a, b, focus ? focus.at : 0);
      sheet.point(hover ? hover.at : null, 'ddn-pointed');
    });
  }

  // What all lanes agree on fades; kept as an attribute, since a cell drawn anew loses its classes.
  function drawDim() {
    const {all} = L.agreement(state);
    for (const {sheet, dimmed} of rows) {
      sheet.slots.forEach(({node}, at) => {
        const on = options.dim && all[at] === 1;
        if (Boolean(dimmed[at]) === on && node.hasAttribute('data-same') === on) return;
        dimmed[at] = on;
        if (on) node.setAttribute('data-same', '');
        else node.removeAttribute('data-same');
      });
    }
  }

  // ---------------------------------------------------------------- agreement

  let bars = []; // {node, value, kind} by position

  function drawAgreement() {
    const {values, given, mean, known} = L.agreement(state);
    while (bars.length > values.length) bars.pop().node.remove();
    while (bars.length < values.length) {
      const node = make('span', 'ddn-bar-at');
      node.dataset.at = bars.length;
      bars.push({node, value: '', kind: ''});
      ui.strip.append(node);
    }
    bars.forEach((bar, at) => {
      const kind = given[at] ? 'given' : values[at] >= 0 ? 'value' : 'few';
      const value = kind === 'value' ? values[at].toFixed(3) : '';
      if (bar.kind !== kind) { bar.kind = kind; bar.node.dataset.kind = kind; }
      if (bar.value === value) return;
      bar.value = value;
      bar.node.style.setProperty('--ddn-value', value || '0');
    });
    setText(ui.mean, mean >= 0 ? probability(mean) : DASH);
    const positions = `${known} position${known === 1 ? '' : 's'} that two lanes or more hold`;
    const words = known ? `mean ${probability(mean)} over ${positions}` : 'no position is held by two lanes yet';
    setAttribute(ui.strip, 'aria-label', `Agreement: ${words}`);
    setHidden(ui.agreement, state.id !== null && !state.oneCanvas);
    const marked = (token, name) => bars.forEach(({node}, at) => {
      const on = Boolean(token) && token.at === at;
      if (node.classList.contains(name) !== on) node.classList.toggle(name, on);
    });
    marked(state.hover, 'ddn-pointed');
    marked(state.pinned, 'ddn-pinned');
  }

  // ---------------------------------------------------------------- panel: one token in every lane

  let panel = []; // {word, p, note, candidates: [{item, word, fill, p}]} a lane

  function newCandidate() {
    const item = make('li', 'ddn-candidate'), word = make('span', 'dd-candidate-word');
    const bar = make('span', 'dd-candidate-bar'), fill = make('span', 'dd-candidate-fill');
    const p = make('span', 'dd-candidate-p');
    bar.append(fill);
    item.append(word, bar, p);
    return {item, word, fill, p, text: null};
  }

  function buildPanel() {
    panel = state.lanes.map((lane) => {
      const item = make('li', 'ddn-row'), head = make('p', 'ddn-row-head'), list = make('ol', 'ddn-candidates');
      const word = make('span', 'ddn-row-word'), p = make('span', 'dd-candidate-p'), note = make('p', 'ddn-row-note');
      const candidates = Array.from({length: CANDIDATES}, newCandidate);
      head.append(make('span', 'ddn-row-label', lane.label), word, p);
      head.firstChild.title = lane.label;
      list.append(...candidates.map((candidate) => candidate.item));
      item.append(head, list, note);
      return {item, word, p, note, list, candidates, text: ''};
    });
    ui.rows.replaceChildren(...panel.map((row) => row.item));
  }

  function drawWord(holder, text) {
    const [gap, ink] = M.splitGap(text);
    const space = gap ? [{kind: 'mark', text: '·'.repeat(gap.length)}] : [];
    drawSegments(holder, [...space, ...onOneLine(ink || gap)]);
  }

  function noteOf(info) {
    if (!info) return 'This lane is not here.';
    if (info.cell.kind === 'prompt') return 'Given.';
    return info.cell.masked ? 'The model has not looked here yet.' : 'No candidates were kept.';
  }

  function drawPanelRow(row, info) {
    const cell = info && info.cell, list = info ? info.candidates.slice(0, CANDIDATES) : [];
    row.item.classList.toggle('ddn-off', !info);
    const word = !cell ? DASH : cell.masked ? null : cell.part ? `part of ${cell.part}` : cell.gap + cell.ink;
    if (word === null && row.text !== null) row.word.replaceChildren(make('span', 'dd-label', 'mask'));
    else if (row.text !== word) drawWord(row.word, word);
    row.text = word;
    setText(row.p, cell && !cell.masked ? probability(info.p) : '');
    row.candidates.forEach((slot, j) => {
      const candidate = list[j];
      setHidden(slot.item, !candidate);
      if (!candidate) return;
      if (slot.text !== candidate.text) {
        slot.text = candidate.text;
        drawWord(slot.word, candidate.text);
      }
      slot.fill.style.inlineSize = `${(candidate.p * 100).toFixed(1)}%`;
      setText(slot.p, candidate.p > 0 && candidate.p < 0.005 ? '<.01' : probability(candidate.p));
      slot.item.classList.toggle('dd-chosen', candidate.chosen);
    });
    setHidden(row.list, !list.length);
    setText(row.note, list.length ? '' : noteOf(info));
  }

  let opened = false;
  function drawPanel() {
    const info = L.inspect(state);
    ui.panel.classList.toggle('ddn-idle', !info);
    ui.panel.classList.toggle('dd-open', Boolean(info && info.pinned));
    const when = L.placeWords(state);
    setText(ui['p-title'], info ? `Token ${info.number}, ${when}` : 'One token in every lane');
    setText(ui['p-line'], info ? agreementWords(info.at) : HINT);
    if (!info) {
      opened = false;
      panel.forEach((row) => drawPanelRow(row, null));
      return;
    }
    panel.forEach((row, i) => drawPanelRow(row, info.lanes[i]));
    if (info.pinned && !opened && ui.panel.scrollTop) ui.panel.scrollTop = 0;
    opened = info.pinned;
  }

  function agreementWords(at) {
    const {values, given} = L.agreement(state);
    if (given[at]) return 'Given, the same in all lanes.';
    const chance = probability(values[at]);
    if (values[at] >= 0) return `Agreement ${chance}: the chance that two lanes hold the same token.`;
    return state.oneCanvas ? 'Fewer than two lanes hold a word here.' : '';
  }

  // ---------------------------------------------------------------- status, legend, player, partings

  const ICONS = {empty: '○', loading: '…', running: '◐', finished: '●', stopped: '■', failed: '!', notice: '!'};
  let announced = '';

  function drawStatus() {
    const {kind, text} = L.status(state);
    setAttribute(block, 'data-state', kind);
    setAttribute(ui.lanes, 'aria-busy', String(kind === 'running' || kind === 'loading'));
    setText(ui['status-icon'], ICONS[kind]);
    setText(ui['status-text'], text);
    setText(ui.title, state.head.title);
    setText(ui.question, state.head.question);
    block.classList.toggle('ddn-nothing', state.id === null);
    const said = kind === 'running' ? kind : text; // not each lane that is measured
    if (said === announced) return;
    announced = said;
    setText(ui.announce, text);
  }

  const legend = CanvasSheet.makeLegend(ui.legend);
  const agreementKeys = [make('span', 'dd-legend-item'), make('span', 'dd-legend-item')];
  agreementKeys[0].append(
    make('span', '', 'agreement of two lanes'), make('span', 'dd-scale-end', '0'), make('span', 'ddn-ramp'),
    make('span', 'dd-scale-end', '1'));
  agreementKeys[1].append(make('span', 'ddn-few-key'), make('span', '', 'held by fewer than two'));
  ui.legend.append(...agreementKeys);
  let marks = null, marksAt = '';

  function drawLegend() {
    const key = `${state.id}/${state.next}`;
    if (marks === null || key !== marksAt) {
      marksAt = key;
      marks = L.marksOf(state);
    }
    legend.draw({marks, colour: options.colour, longest: L.longest(state)});
    for (const key of agreementKeys) setHidden(key, !state.oneCanvas);
  }

  let ticksDrawn = '';
  function drawPlayer() {
    const player = L.player(state), off = !player.enabled;
    setDisabled(ui.first, off || player.at === 0);
    setDisabled(ui.previous, off || player.at === 0);
    setDisabled(ui.next, off || player.at === player.have);
    setDisabled(ui.play, off);
    setDisabled(ui.slider, off);
    if (ui.slider.max !== String(player.max)) ui.slider.max = player.max;
    if (ui.slider.value !== String(player.at)) ui.slider.value = player.at;
    ui.slider.style.setProperty('--dd-at', (player.at / player.max).toFixed(4));
    ui.slider.style.setProperty('--dd-have', (off ? 0 : player.have / player.max).toFixed(4));
    const label = player.share ? `${Math.round((100 * player.at) / player.max)} % of each run`
      : `step ${state.id === null ? DASH : player.at} of ${state.id === null ? DASH : player.max}`;
    setText(ui.step, label);
    setAttribute(ui.slider, 'aria-valuetext', label);
    block.classList.toggle('dd-playing', Boolean(state.playing));
    setAttribute(ui.play, 'aria-label', state.playing ? 'Pause' : 'Play');
    ui.live.classList.toggle('dd-on', player.live);
    setDisabled(ui.live, !player.live || player.following);
    setText(ui.live, player.live && player.following ? 'Following' : 'Live');
    ui['line-up-field'].classList.toggle('ddn-unused', !L.uneven(state));
    if (ui['line-up'].value !== state.lineUp) ui['line-up'].value = state.lineUp;
    setDisabled(ui['line-up'], !L.uneven(state));
    const ticks = `${player.ticks.map((tick) => tick.at + tick.kind).join()}/${player.max}`;
    if (ticks === ticksDrawn) return;
    ticksDrawn = ticks;
    ui.ticks.replaceChildren(...player.ticks.map(({at, kind}) => {
      const tick = make('span', `dd-tick ddn-${kind}`);
      tick.style.setProperty('--dd-at', (at / player.max).toFixed(4));
      return tick;
    }));
  }

  function drawPartings() {
    const {parted, clashed} = L.partingWords(state);
    setText(ui.parted, parted);
    setText(ui.clashed, clashed);
    setHidden(ui['go-parted'], !state.partings.parted);
    setHidden(ui['go-clashed'], !state.partings.clashed);
    ui.partings.classList.toggle('ddn-none', !parted);
  }

  // ---------------------------------------------------------------- measures

  let tabled = {};

  function drawMeasures() {
    const {measuring, measures} = state;
    setHidden(ui.measures, !measures && state.status !== 'running');
    const waiting = measures ? '' : 'Measured when the lanes are done.';
    setText(ui.measuring, measuring ? `Measuring, ${measuring.done} of ${measuring.all}` : waiting);
    const seen = {id: state.id, measures, sentences: state.sentences};
    if (Object.keys(seen).every((key) => seen[key] === tabled[key])) return;
    tabled = seen;
    const {columns, rows: lines, notes} = L.table(state);
    const head = make('tr');
    head.append(make('th', 'ddn-first', 'lane'), ...columns.map(({title, about}) => {
      const cell = make('th', '', title);
      cell.scope = 'col';
      cell.title = about;
      return cell;
    }));
    ui['table-head'].replaceChildren(head);
    const errors = columns.map((_, i) => lines.reduce((most, {cells}) => Math.max(most, cells[i].error.length), 0));
    ui['table-body'].replaceChildren(...lines.map((line) => tableRow(line, errors)));
    ui.sentences.replaceChildren(...state.sentences.map((text) => make('li', '', text)));
    ui.notes.replaceChildren(...notes.map((text) => make('li', '', text)));
  }

  // Numbers of a column end at the same place, and their errors begin there.
  function tableRow({label, ofGroup, cells}, errors) {
    const row = make('tr', ofGroup ? 'ddn-group' : ''), head = make('th', 'ddn-first', label);
    head.scope = 'row';
    row.append(head, ...cells.map(({text, error, why}, i) => {
      const cell = make('td');
      if (why) cell.title = why;
      cell.append(make('span', why && text !== DASH ? 'ddn-noted' : '', text));
      if (why && text === DASH) cell.append(make('span', 'dd-hidden', `none: ${why}`));
      if (errors[i]) {
        const room = make('span', 'ddn-error', error ? ` ± ${error}` : '');
        room.style.minInlineSize = `${errors[i] + 2.4}ch`;
        cell.append(room);
      }
      return cell;
    }));
    return row;
  }

  function render() {
    buildRows();
    drawStatus();
    drawAgreement();
    drawPanel();
    drawLegend();
    drawPlayer();
    drawPartings();
    drawMeasures();
    drawLanes();
  }

  // ---------------------------------------------------------------- player

  const step = (by) => update(L.goTo(state, state.at + by));
  const togglePlay = () => update(state.playing ? L.pause(state) : L.play(state, performance.now()));

  ui.first.addEventListener('click', () => update(L.goTo(state, 0)));
  ui.previous.addEventListener('click', () => step(-1));
  ui.next.addEventListener('click', () => step(1));
  ui.play.addEventListener('click', togglePlay);
  ui.live.addEventListener('click', () => update(L.goTo(state, L.lastIndex(state))));
  ui.slider.addEventListener('input', () => {
    update(L.goTo(state, Number(ui.slider.value)));
    ui.slider.value = state.at; // there is nothing yet beyond the newest step
  });
  ui.speed.addEventListener('change', () => {
    update(L.setSpeed(state, Number(ui.speed.value), performance.now()));
  });
  ui['line-up'].addEventListener('change', () => update(L.setLineUp(state, ui['line-up'].value)));
  ui['masks-show'].addEventListener('change', () => { options.masks = ui['masks-show'].value; schedule(); });
  ui.colour.addEventListener('change', () => { options.colour = ui.colour.value; schedule(); });
  ui.dim.addEventListener('change', () => { options.dim = ui.dim.checked; schedule(); });

  function goTo(place) {
    if (!place) return;
    update(L.goToPlace(state, place));
    schedule();
    requestAnimationFrame(() => { // once it is drawn
      const slot = rows.map(({sheet}) => sheet.slots[place.at]).find(Boolean);
      if (slot) slot.node.scrollIntoView({block: 'nearest'});
    });
  }
  ui['go-parted'].addEventListener('click', () => goTo(state.partings.parted));
  ui['go-clashed'].addEventListener('click', () => goTo(state.partings.clashed));
  ui['p-close'].addEventListener('click', () => update(L.pin(state, null)));

  // ---------------------------------------------------------------- pointer

  // {lane, at} of a token, or of a bar of the strip (lane null).
  function tokenOf(node) {
    if (!(node instanceof Element)) return null;
    const bar = node.closest('.ddn-bar-at');
    if (bar) return {lane: null, at: Number(bar.dataset.at)};
    const cell = node.closest('.dd-cell'), page = cell && cell.closest('.dd-page');
    return page && element.contains(page) ? {lane: Number(page.dataset.lane), at: Number(cell.dataset.pos)} : null;
  }

  const sameToken = (a, b) => a === b || Boolean(a && b && a.at === b.at && a.lane === b.lane);

  function pointAt(token) {
    if (!sameToken(token, state.hover)) update(L.hover(state, token));
  }

  function togglePin(token) {
    const {pinned} = state;
    const again = pinned && pinned.at === token.at && (token.lane === null || pinned.lane === token.lane);
    update(again ? L.hover(L.pin(state, null), token) : L.pin(state, token));
  }

  ui.main.addEventListener('pointermove', (event) => {
    if (event.pointerType === 'touch') return;
    const token = tokenOf(event.target);
    if (token) pointAt(token);
  });
  // The last token stays in the panel when the pointer leaves; only while one is pinned the mark of another goes.
  ui.main.addEventListener('pointerleave', () => { if (state.pinned) pointAt(null); });
  ui.main.addEventListener('click', (event) => {
    const token = tokenOf(event.target);
    if (!token || !window.getSelection().isCollapsed) return;
    togglePin(token);
    if (token.lane !== null) focusToken(token);
  });

  // ---------------------------------------------------------------- keyboard

  function focusToken({lane, at}) {
    const slot = rows[lane] && rows[lane].sheet.slots[at];
    if (!slot) return;
    slot.node.focus({preventScroll: true});
    slot.node.scrollIntoView({block: 'nearest'}); // focus alone would leave it behind the player or the panel
  }

  function moveTo(lane, at) {
    const there = (index) => rows[index] && rows[index].sheet.slots.length;
    if (!there(lane)) return;
    const token = {lane, at: Math.max(0, Math.min(there(lane) - 1, at))};
    update(state.pinned ? L.pin(state, token) : L.hover(state, token));
    focusToken(token);
  }

  // The next lane that has text, in one direction.
  function otherLane(lane, direction) {
    for (let i = lane + direction; i >= 0 && i < rows.length; i += direction) {
      if (rows[i].sheet.slots.length) return i;
    }
    return lane;
  }

  function tokenKeys(key, {lane, at}) {
    return {
      ArrowLeft: () => moveTo(lane, at - 1), ArrowRight: () => moveTo(lane, at + 1),
      ArrowUp: () => moveTo(otherLane(lane, -1), at), ArrowDown: () => moveTo(otherLane(lane, 1), at),
      Home: () => moveTo(lane, 0), End: () => moveTo(lane, rows[lane].sheet.slots.length - 1),
      Enter: () => togglePin({lane, at}), Escape: () => update(L.pin(state, null)),
      ' ': togglePlay, ',': () => step(-1), '.': () => step(1),
    }[key];
  }

  function blockKeys(key) {
    return {
      ArrowLeft: () => step(-1), ArrowRight: () => step(1), ',': () => step(-1), '.': () => step(1),
      ' ': togglePlay,
      Home: () => update(L.goTo(state, 0)), End: () => update(L.goTo(state, L.lastIndex(state))),
      Escape: () => update(L.pin(state, null)),
    }[key];
  }

  block.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const token = tokenOf(event.target);
    // These have keys of their own.
    const own = event.target.closest('button, select, input, summary, .ddn-scroll');
    const free = !own || (own.tagName === 'BUTTON' && [',', '.', 'Escape'].includes(event.key));
    const action = token && token.lane !== null ? tokenKeys(event.key, token) : free ? blockKeys(event.key) : null;
    if (!action) return;
    event.preventDefault();
    action();
  });
  ui.lanes.addEventListener('focusin', (event) => {
    const token = tokenOf(event.target);
    if (token && !state.pinned) pointAt(token);
  });

  // ---------------------------------------------------------------- messages

  function absorb({state: next, fetch, warning}) {
    if (warning) console.warn(`lanes: ${warning}`);
    update(next);
    if (fetch) ask(fetch);
  }

  async function ask({run, n}) {
    let answer = null;
    try {
      const text = host.server && host.server.messages ? await host.server.messages(run, n) : null;
      const parsed = text ? JSON.parse(text) : null;
      answer = Array.isArray(parsed) ? parsed : null;
    } catch (error) {
      console.warn(`lanes: ${error.message}`);
    }
    absorb(L.supply(state, run, answer));
  }

  function take(text) {
    if (!text) return;
    let message;
    try {
      message = JSON.parse(text);
    } catch (error) {
      console.warn(`lanes: ignored a message that is not JSON: ${error.message}`);
      return;
    }
    absorb(L.receive(state, message));
  }

  render();
  take(host.value);
  host.watch(take);

  let width = 0; // also when a tab that hid the lanes opens
  new ResizeObserver(() => {
    if (block.clientWidth === width) return;
    width = block.clientWidth;
    rows.forEach(({sheet}) => sheet.forget());
    schedule();
  }).observe(block);
}
