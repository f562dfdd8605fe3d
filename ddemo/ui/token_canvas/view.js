/* The token canvas on the page: draws what CanvasModel says and turns hands and keys into its functions.
 *
 * mountTokenCanvas(element, host): `element` contains canvas.html. host = {
 *   trigger(name, data)      tells Python: "resume" {run, step, segment, cells}, "text" {text, tail?}
 *   server                   {draft(text, length, checkpoint), messages(run, n)}, each answering with a JSON string
 *   value                    the message to begin with, a JSON string
 *   watch(fn)                calls fn with each message that follows
 *   readOnly                 true on a page without a server: looking and playing only
 * }
 * Text reaches the page through textContent only. The page is drawn by CanvasSheet, at most once a frame.
 * Playing and scrubbing ask nobody anything.
 */
function mountTokenCanvas(element, host) {
  'use strict';

  const M = CanvasModel;
  const {make, setText, setHidden, setDisabled, setAttribute, probability, drawSegments, onOneLine} = CanvasSheet;
  const DRAFT_WAIT_MS = 250, EDIT_WAIT_MS = 180, ANSWER_WAIT_MS = 30000, LONG_PRESS_MS = 350, TOUCH_SLOP = 9;
  const DASH = '–';
  const NO_ANSWER = 'The model has not answered yet. The edits are still here: try once more.';
  const READING_HINT = 'Point at a token to see what else it could have been. Click it to keep it here.';
  const ui = {};
  element.querySelectorAll('[data-dd]').forEach((node) => { ui[node.dataset.dd] = node; });
  const block = ui.block, page = ui.page;
  const readOnly = Boolean(host.readOnly);
  block.classList.toggle('dd-read-only', readOnly);
  if (readOnly) ui['i-hint'].textContent = READING_HINT;

  let state = M.initial();
  const options = {masks: 'likely', colour: 'none', space: null, touchSelect: false};
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
      state = M.tick(state, now);
      render();
      if (state.playing) schedule();
    });
  }

  // ---------------------------------------------------------------- cells

  const sheet = CanvasSheet.makeSheet(page), {slots} = sheet;
  const longest = (run) => Math.max(run.head.steps || 0, run.stops[run.stops.length - 1].step); // in steps

  function drawPage() {
    const run = M.runShown(state), cells = M.cells(state);
    const look = {masks: options.masks, colour: options.colour, longest: run ? longest(run) : NaN};
    if (sheet.draw(cells, look)) sheet.hold(run, cells);
  }

  function drawSelection() {
    const [a, b] = M.span(state) || [-1, -2];
    sheet.select(a, b, state.selection ? state.selection.focus : state.hover || 0);
  }

  // ---------------------------------------------------------------- inspector

  const rows = []; // candidate rows, kept
  let inspected = null;

  function drawWord(holder, info) {
    const {cell} = info;
    if (info.count > 1) { setText(holder, `${info.count} tokens`); return; }
    if (cell.masked) { holder.replaceChildren(make('span', 'dd-label', 'mask')); return; }
    const gap = cell.gap ? [make('span', 'dd-mark', '·'.repeat(cell.gap.length))] : [];
    const holderText = make('span', '');
    if (cell.part) holderText.append(make('span', 'dd-mark', `part of ${cell.part}`));
    else drawSegments(holderText, onOneLine(cell.ink || cell.gap));
    holder.replaceChildren(...gap, holderText);
  }

  function stateWords(info) {
    if (info.count > 1) return info.masks ? `${info.masks} masks stand together here` : 'selected together';
    const {cell} = info;
    const words = M.describe(cell).replace(/, best guess.*$/, '').replace(/, probability [\d.–]+/, '')
      .replace(/, clashes: .*?, was [<.\d]+/, ''); // it has a line of its own
    const was = info.replaced ? `; was “${info.replaced.trim() || '␣'}”` : '';
    return (words ? words[0].toUpperCase() + words.slice(1) : 'Text') + was;
  }

  function candidateRow() {
    const item = make('li', 'dd-candidate-item');
    const button = make('button', 'dd-candidate');
    button.type = 'button';
    const word = make('span', 'dd-candidate-word'), bar = make('span', 'dd-candidate-bar');
    const fill = make('span', 'dd-candidate-fill'), p = make('span', 'dd-candidate-p');
    bar.append(fill);
    button.append(word, bar, p);
    item.append(button);
    const row = {item, button, word, fill, p, id: null};
    button.addEventListener('click', () => {
      const info = M.inspect(state);
      if (!info || row.id === null) return;
      applyEdit(M.forceToken(M.select(state, info.index, info.index), info.index, row.id));
    });
    return row;
  }

  function drawCandidates(info, locked) {
    const list = info.count > 1 ? [] : info.candidates;
    while (rows.length < list.length) {
      const row = candidateRow();
      rows.push(row);
      ui['i-candidates'].append(row.item);
    }
    rows.forEach((row, j) => {
      const candidate = list[j];
      setHidden(row.item, !candidate);
      row.id = candidate ? candidate.id : null;
      if (!candidate) return;
      const [gap, ink] = M.splitGap(candidate.text);
      if (row.text !== candidate.text) {
        row.text = candidate.text;
        const space = gap ? [{kind: 'mark', text: '·'.repeat(gap.length)}] : [];
        drawSegments(row.word, [...space, ...onOneLine(ink || gap)]);
      }
      row.fill.style.inlineSize = `${(candidate.p * 100).toFixed(1)}%`;
      setText(row.p, candidate.p > 0 && candidate.p < 0.005 ? '<.01' : probability(candidate.p));
      row.button.classList.toggle('dd-chosen', candidate.chosen);
      setDisabled(row.button, locked);
      const words = [`${locked ? '' : 'Force '}${candidate.text.trim() || 'space'}`,
        `probability ${probability(candidate.p)}`];
      if (candidate.chosen) words.push('standing here');
      setAttribute(row.button, 'aria-label', words.join(', '));
    });
  }

  function drawInspector() {
    const info = M.inspect(state);
    const stop = M.stopShown(state), draft = state.onDraft;
    setHidden(ui['i-hint'], Boolean(info));
    setHidden(ui['i-body'], !info);
    ui.inspector.classList.toggle('dd-open', Boolean(info && info.pinned));
    ui.inspector.classList.toggle('dd-brief', Boolean(info && (draft || info.count > 1)));
    if (!info) {
      inspected = null;
      setText(ui['i-title'], 'Inspector');
      return;
    }
    const moved = !inspected || inspected.key !== `${stop.key}/${info.index}/${info.count}`;
    inspected = {key: `${stop.key}/${info.index}/${info.count}`};
    const where = info.count > 1 ? `tokens ${M.number(info.a)}–${M.number(info.b)}` : `token ${info.number}`;
    const when = `as of step ${info.step}${info.edited ? ', after your edit' : ''}`;
    setText(ui['i-title'], draft ? where : `${where}, ${when}`);
    drawWord(ui['i-word'], info);
    setText(ui['i-state'], stateWords(info));
    const single = info.count === 1;
    setText(ui['i-p'], single ? probability(info.cell.masked ? info.cell.confidence : info.p) : DASH);
    setText(ui['i-entropy'], single && info.entropy >= 0 ? `${info.entropy.toFixed(2)} nat` : DASH);
    drawGiven(single ? info.cell : null);
    drawPast(single ? info.past : []);
    const reason = readOnly ? '' : M.editReason(state);
    drawCandidates(info, readOnly || Boolean(reason) || draft);
    setText(ui['i-list-title'], listTitle(info, draft));
    drawTools(info, reason, draft, moved);
  }

  // What the token is worth beside those that its step committed with it, where the run was looked at again.
  function drawGiven(cell) {
    const run = M.runShown(state), given = cell && cell.given;
    setHidden(ui['i-given'], !run.clashes);
    ui['i-given'].classList.toggle('dd-warned', Boolean(given) && cell.clash);
    const words = given ? M.givenWords(given) : DASH;
    setText(ui['i-given'], given && cell.clash ? `Clashes: ${words}` : words[0].toUpperCase() + words.slice(1));
  }

  const PAST = 4; // the latest ones; before them stands how many more there were
  function drawPast(past) {
    setHidden(ui['i-past'], !past.length);
    const more = past.length > PAST ? `${past.length - PAST} more, ` : '';
    const words = past.slice(-PAST).map(({text, from, to}) => {
      const when = from === to ? `step ${from}` : `steps ${from} to ${to}`;
      return `“${text.trim() || '␣'}” (${when})`;
    });
    setText(ui['i-past'], past.length ? `Stood here before: ${more}${words.join(', ')}` : '');
  }

  function listTitle(info, draft) {
    if (info.count > 1) return 'Select one token to see its candidates.';
    if (draft) return 'Candidates appear once the model has looked.';
    const done = info.cell.resampled ? 'resampled' : 'committed';
    if (info.committed) return `As of step ${info.beliefStep}, when it was ${done}`;
    if (info.candidates.length) return `Candidates, as of step ${info.beliefStep}`;
    if (info.cell.kind === 'prompt') return 'Given, so the model has no candidates for it.';
    if (info.cell.masked) return 'The model has not looked at this mask yet.';
    return 'No candidates were kept for it.';
  }

  function drawTools(info, reason, draft, moved) {
    setHidden(ui['i-edit'], readOnly);
    if (readOnly) return;
    const busy = Boolean(reason);
    const unmask = !info.canMask && info.canUnmask;
    setText(ui['i-mask'], unmask ? 'Unmask' : 'Mask');
    setDisabled(ui['i-mask'], busy || !(info.canMask || info.canUnmask));
    setHidden(ui['i-lock'], draft);
    setText(ui['i-lock'], info.canLock && info.allLocked ? 'Unlock' : 'Lock');
    setDisabled(ui['i-lock'], busy || !info.canLock);
    setAttribute(ui['i-stepper'], 'data-on', String(info.masks > 0));
    setText(ui['i-count'], info.masks ? `${info.masks} mask${info.masks === 1 ? '' : 's'}` : DASH);
    setDisabled(ui['i-fewer'], busy || info.masks < 2);
    setDisabled(ui['i-more'], busy || !info.masks || !info.room);
    setDisabled(ui['i-input'], busy);
    setDisabled(ui['i-replace'], busy);
    setDisabled(ui['i-space'], busy);
    if (moved) {
      options.space = null;
      if (document.activeElement !== ui['i-input']) ui['i-input'].value = '';
    }
    const spaced = options.space === null ? info.spaceBefore : options.space;
    setAttribute(ui['i-space'], 'aria-pressed', String(spaced));
    setText(ui['i-reason'], reason);
  }

  // ---------------------------------------------------------------- status, legend, player, readout, actions

  const ICONS = {
    empty: '○', draft: '✎', loading: '…', running: '◐', finished: '●', stopped: '■', failed: '!', notice: '!',
  };
  let announced = '';

  function drawStatus() {
    const {kind, text} = M.status(state);
    setAttribute(block, 'data-state', kind);
    setText(ui['status-icon'], ICONS[kind]);
    setText(ui['status-text'], text);
    const canGoBack = state.last !== null && (state.onDraft || state.shown !== state.last);
    const parent = !state.onDraft && !canGoBack && M.runShown(state) ? M.runShown(state).parent : null;
    const known = parent !== null && state.runs.has(parent);
    setHidden(ui.back, !(canGoBack || known) || M.isBusy(state));
    setText(ui.back, canGoBack ? 'Back to the last run' : 'Show the run before this edit');
    setText(ui.run, M.headline(M.runShown(state)));
    const said = `${kind}: ${text}`;
    if (said !== announced) {
      announced = said;
      setText(ui.announce, text);
    }
    setAttribute(page, 'aria-busy', String(kind === 'running' || kind === 'loading'));
  }

  const legend = CanvasSheet.makeLegend(ui.legend);
  legend.items.clash.lastChild.replaceWith(ui['share-field']); // the words and the share that they speak of
  setHidden(ui['share-field'], false);
  ui.share.value = String(M.SHARE);
  ui.share.addEventListener('change', () => update(M.setShare(state, Number(ui.share.value))));
  let legendRun = null, marks = M.marksOf(null);

  function drawLegend() {
    const run = M.runShown(state);
    if (run !== legendRun) {
      legendRun = run;
      marks = M.marksOf(run);
      marks.fresh = Boolean(run && run.status !== 'draft');
      marks.filled = marks.filled || marks.fresh;
    }
    marks.pending = M.editCount(state) > 0;
    legend.draw({marks, colour: options.colour, longest: run ? longest(run) : NaN});
  }

  let ticksDrawn = '';
  function drawPlayer() {
    const player = M.player(state);
    const off = !player.enabled;
    setDisabled(ui.first, off || player.at === 0);
    setDisabled(ui.previous, off || player.at === 0);
    setDisabled(ui.next, off || player.at === player.have);
    setDisabled(ui.play, off);
    setDisabled(ui.slider, off);
    if (ui.slider.max !== String(player.max)) ui.slider.max = player.max;
    if (ui.slider.value !== String(player.at)) ui.slider.value = player.at;
    ui.slider.style.setProperty('--dd-at', (player.at / player.max).toFixed(4));
    ui.slider.style.setProperty('--dd-have', (off ? 0 : player.have / player.max).toFixed(4));
    const none = state.onDraft || !M.runShown(state);
    const edited = player.edited ? ' · edited' : '';
    const label = none ? `step ${DASH}` : `step ${player.step} of ${player.of}${edited}`;
    setText(ui.step, label);
    setAttribute(ui.slider, 'aria-valuetext', label);
    block.classList.toggle('dd-playing', Boolean(state.playing));
    setAttribute(ui.play, 'aria-label', state.playing ? 'Pause' : 'Play');
    ui.live.classList.toggle('dd-on', player.live);
    setDisabled(ui.live, !player.live || player.following);
    setText(ui.live, player.live && player.following ? 'Following' : 'Live');
    const ticks = `${player.ticks.join()}/${player.max}`;
    if (ticks === ticksDrawn) return;
    ticksDrawn = ticks;
    ui.ticks.replaceChildren(...player.ticks.map((index) => {
      const tick = make('span', 'dd-tick');
      tick.style.setProperty('--dd-at', (index / player.max).toFixed(4));
      return tick;
    }));
  }

  function drawReadout() {
    const stop = M.stopShown(state), s = stop ? M.stats(stop) : null;
    const ran = Boolean(s) && !state.onDraft;
    const asOf = `as of step ${ran ? s.step : DASH}${ran && stop.edited ? ', edited' : ''}`;
    setText(ui['as-of'], state.onDraft ? 'before any step' : asOf);
    const masks = s ? M.cells(state).filter((cell) => cell.masked).length : 0; // with the edits
    const spoken = s && (masks || !M.noiseIsWords(M.runShown(state).head)); // else there are none to speak of
    setText(ui['r-masks'], spoken ? String(masks) : DASH);
    const back = s && s.remasked ? ` (−${s.remasked})` : '';
    setText(ui['r-wrote'], ran && s.wrote >= 0 ? `${s.wrote}${back}` : DASH);
    setText(ui['r-gate'], ran ? probability(s.gate) : DASH);
    setText(ui['r-mean'], ran ? probability(s.mean) : DASH);
    setText(ui['r-nfe'], ran && Number.isFinite(s.nfe) ? String(s.nfe) : DASH);
    setText(ui['r-t'], ran ? probability(s.t) : DASH);
  }

  function drawActions() {
    const stop = M.stopShown(state), run = M.runShown(state), draft = state.onDraft;
    const count = M.editCount(state), parked = M.parkedEdits(state), going = M.continuing(state);
    const edits = (n) => `${n} edit${n === 1 ? '' : 's'}`;
    ui.actions.classList.toggle('dd-has-edits', count > 0 && !draft);
    let words = '';
    if (count && !draft) words = going.reason || `${edits(count)} at step ${stop.step}, not applied yet.`;
    else if (parked) words = `${edits(parked.count)} waiting at step ${parked.step}.`;
    setText(ui['pending-text'], words);
    setHidden(ui.parked, !parked || Boolean(count));
    setText(ui.parked, 'Go there');
    setHidden(ui.discard, readOnly || draft || !count);
    setHidden(ui.undo, readOnly || !(draft ? state.sentTexts.length : count));
    setHidden(ui.continue, readOnly || draft || !going.offered);
    setDisabled(ui.continue, Boolean(going.reason));
    setHidden(ui['i-bar'], !count || draft);
    setDisabled(ui['i-continue'], Boolean(going.reason));
    ui.continue.classList.toggle('dd-primary', count > 0);
    ui.continue.classList.toggle('dd-quiet', count === 0);
    setHidden(ui.copy, !run);
    setHidden(ui.use, readOnly || draft || !run);
    setDisabled(ui.use, M.isLive(state));
    setHidden(ui['touch-select'], readOnly);
  }

  let told = {};
  function tell(again) { // for whoever draws the same run beside the canvas; a run that grows is another object
    const run = state.onDraft ? null : M.runShown(state), stop = M.stopShown(state);
    const pos = !run ? null : state.selection ? state.selection.focus : state.hover;
    const at = run ? Math.min(state.at, run.stops.length - 1) : 0;
    const next = {run: run && run.id, step: stop ? stop.step : null, pos, at, shown: run, share: state.share};
    if (again !== true && Object.keys(next).every((key) => next[key] === told[key])) return;
    told = next;
    element.dispatchEvent(new CustomEvent('ddemo:shown', {bubbles: true, detail: {...next}}));
  }

  let pointed = null; // the place of the token that a chart beside the canvas points at

  function render() {
    drawStatus();
    drawPage();
    drawSelection();
    sheet.point(pointed);
    drawInspector();
    drawLegend();
    drawPlayer();
    drawReadout();
    drawActions();
    tell();
  }

  // ---------------------------------------------------------------- edits

  let textTimer = 0, textBefore = null;

  /* Shown at once. In a draft the text box is what counts: it gets the new text, and answers with a draft. */
  function applyEdit(next) {
    if (next === state || readOnly) return;
    if (state.onDraft && M.wholeText(next) !== M.wholeText(state)) {
      if (textBefore === null) textBefore = M.textRequest(state);
      clearTimeout(textTimer);
      textTimer = setTimeout(sendText, EDIT_WAIT_MS);
    }
    update(next);
  }

  function sendText() {
    const before = textBefore, after = M.textRequest(state);
    textBefore = null;
    if (!state.onDraft || before === null || before.text === after.text) return;
    update(M.rememberText(state, before, after));
    host.trigger('text', after);
  }

  function undo() {
    if (!state.onDraft) { update(M.undo(state)); return; }
    const {state: next, request} = M.takeBackText(state);
    update(next);
    if (request) host.trigger('text', request);
  }

  function goOn() {
    const {offered, reason} = M.continuing(state);
    if (readOnly || !offered || reason) return;
    const request = M.resumeRequest(state);
    update(M.wait(state));
    const asked = state.waiting;
    host.trigger('resume', request);
    setTimeout(() => {
      if (state.waiting === asked) update(M.stopWaiting(state, NO_ANSWER));
    }, ANSWER_WAIT_MS);
  }

  const rangeOrHover = () => M.span(state) || (state.hover === null ? null : [state.hover, state.hover]);

  function withRange(change) {
    const range = rangeOrHover();
    if (range && !M.editReason(state) && !readOnly) applyEdit(change(range[0], range[1]));
  }

  const toggleMask = () => withRange((a, b) => {
    const info = M.inspect(state);
    if (!info.canMask && info.canUnmask) return M.unmaskSpan(state, a, b);
    return M.maskSpan(M.select(state, a, b), a, b);
  });
  const toggleLock = () => withRange((a, b) => {
    const info = M.inspect(state);
    return state.onDraft || !info.canLock ? state : M.lockSpan(state, a, b, !info.allLocked);
  });
  const changeMasks = (by) => withRange((a, b) => {
    const info = M.inspect(state);
    if (!info.masks) return state;
    return M.resizeRun(state.selection ? state : M.select(state, a, b), info.index, info.masks + by);
  });

  function replaceByTyping() {
    const typed = ui['i-input'].value;
    if (!typed) return;
    const info = M.inspect(state);
    if (!info) return;
    const spaced = options.space === null ? info.spaceBefore : options.space;
    const text = spaced && !/^\s/.test(typed) ? ` ${typed}` : typed;
    withRange((a, b) => M.typeText(state, a, b, text));
    ui['i-input'].value = '';
    options.space = null;
    focusCell(info.a);
  }

  ui['i-mask'].addEventListener('click', toggleMask);
  ui['i-lock'].addEventListener('click', toggleLock);
  ui['i-fewer'].addEventListener('click', () => changeMasks(-1));
  ui['i-more'].addEventListener('click', () => changeMasks(1));
  ui['i-space'].addEventListener('click', () => {
    options.space = ui['i-space'].getAttribute('aria-pressed') !== 'true';
    setAttribute(ui['i-space'], 'aria-pressed', String(options.space));
  });
  ui['i-form'].addEventListener('submit', (event) => { event.preventDefault(); replaceByTyping(); });
  ui['i-input'].addEventListener('focus', () => { // typing means this token, wherever the pointer wanders
    const range = rangeOrHover();
    if (range && !state.selection) update(M.select(state, range[0], range[1]));
  });
  ui['i-input'].addEventListener('keydown', (event) => {
    if (event.key === 'Escape') focusCell(state.selection ? state.selection.focus : 0);
    event.stopPropagation();
  });
  ui['i-close'].addEventListener('click', () => update(M.hover(M.unselect(state), null)));
  ui.undo.addEventListener('click', undo);
  ui.discard.addEventListener('click', () => update(M.discard(state)));
  ui.continue.addEventListener('click', goOn);
  ui['i-undo'].addEventListener('click', undo);
  ui['i-continue'].addEventListener('click', goOn);
  ui.use.addEventListener('click', () => host.trigger('text', {text: M.wholeText(state)}));
  ui.copy.addEventListener('click', async () => {
    const done = await copy(M.wholeText(state));
    setText(ui.copy, done ? 'Copied' : 'Not allowed');
    setText(ui.announce, done ? 'Text copied' : 'The browser does not allow copying');
    setTimeout(() => setText(ui.copy, 'Copy text'), 1500);
  });

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const area = make('textarea', 'dd-hidden'); // pages served without https have no clipboard
      area.value = text;
      block.append(area);
      area.select();
      const done = document.execCommand('copy');
      area.remove();
      return done;
    }
  }

  // ---------------------------------------------------------------- player

  const step = (by) => update(M.goTo(state, state.at + by));
  const togglePlay = () => update(state.playing ? M.pause(state) : M.play(state, performance.now()));

  ui.first.addEventListener('click', () => update(M.goTo(state, 0)));
  ui.previous.addEventListener('click', () => step(-1));
  ui.next.addEventListener('click', () => step(1));
  ui.play.addEventListener('click', togglePlay);
  ui.live.addEventListener('click', () => update(M.catchUp(state)));
  ui.parked.addEventListener('click', () => {
    const parked = M.parkedEdits(state);
    if (parked) update(M.goTo(state, parked.index));
  });
  ui.back.addEventListener('click', () => {
    const run = M.runShown(state);
    const away = state.onDraft || state.shown !== state.last;
    update(away ? M.backToRun(state) : M.runOf(state, run.parent));
  });
  ui.slider.addEventListener('input', () => {
    update(M.goTo(state, Number(ui.slider.value)));
    ui.slider.value = state.at; // there is nothing yet beyond the newest step
  });
  ui.speed.addEventListener('change', () => {
    update(M.setSpeed(state, Number(ui.speed.value), performance.now()));
  });
  ui['masks-show'].addEventListener('change', () => { options.masks = ui['masks-show'].value; schedule(); });
  ui.colour.addEventListener('change', () => { options.colour = ui.colour.value; schedule(); });
  ui['touch-select'].addEventListener('click', () => {
    options.touchSelect = !options.touchSelect;
    setAttribute(ui['touch-select'], 'aria-pressed', String(options.touchSelect));
    page.classList.toggle('dd-selecting', options.touchSelect);
  });

  // ---------------------------------------------------------------- pointer

  const canEdit = () => !readOnly && !M.editReason(state);
  function indexOf(node) {
    const cell = node instanceof Element ? node.closest('.dd-cell') : null;
    return cell && page.contains(cell) ? Number(cell.dataset.pos) : null;
  }
  const indexAt = (event) => indexOf(document.elementFromPoint(event.clientX, event.clientY));
  let drag = null;

  function startDrag(event) {
    const index = indexOf(event.target);
    if (event.button !== 0) return;
    if (index === null) { update(M.unselect(state)); return; }
    const touch = event.pointerType === 'touch';
    drag = {
      start: index, now: index, moved: false, touch, active: !touch || options.touchSelect,
      held: false, timer: 0, x: event.clientX, y: event.clientY, shift: event.shiftKey, id: event.pointerId,
    };
    if (!touch && !readOnly) event.preventDefault(); // no text selection, no native drag
    if (touch && !drag.active) {
      drag.timer = setTimeout(() => {
        if (!drag || !canEdit()) return;
        drag.active = true;
        drag.held = true;
        update(M.select(state, drag.start, drag.start));
      }, LONG_PRESS_MS);
    }
  }

  function moveDrag(event) {
    if (!drag) {
      if (event.pointerType === 'touch' || state.selection) return;
      const index = indexOf(event.target);
      if (index !== null) update(M.hover(state, index));
      return;
    }
    if (event.pointerId !== drag.id) return;
    if (!drag.active) {
      const away = Math.hypot(event.clientX - drag.x, event.clientY - drag.y);
      if (away > TOUCH_SLOP) endDrag(); // it is a scroll
      return;
    }
    if (!canEdit()) return;
    const index = indexAt(event);
    if (index === null || index === drag.now) return;
    drag.now = index;
    drag.moved = true;
    update(M.select(state, drag.start, index));
  }

  function finishDrag(event) {
    if (!drag || event.pointerId !== drag.id) return;
    const {start, now, moved, shift, held} = drag;
    endDrag();
    if (moved) {
      const [a, b] = [Math.min(start, now), Math.max(start, now)];
      const next = M.maskSpan(M.select(state, start, now), a, b);
      if (canEdit()) applyEdit(next);
      focusCell(now);
      return;
    }
    if (held || (readOnly && !window.getSelection().isCollapsed)) return;
    const only = state.selection && state.selection.anchor === start && state.selection.focus === start;
    if (shift && state.selection) update(M.select(state, state.selection.anchor, start));
    else update(only ? M.unselect(state) : M.select(state, start, start));
    focusCell(start);
  }

  function endDrag() {
    if (drag) clearTimeout(drag.timer);
    drag = null;
  }

  page.addEventListener('pointerdown', startDrag);
  page.addEventListener('pointermove', moveDrag);
  window.addEventListener('pointerup', whileMounted(finishDrag));
  window.addEventListener('pointermove', whileMounted((event) => {
    if (drag && !page.contains(event.target)) moveDrag(event);
  }));
  page.addEventListener('pointercancel', endDrag);
  const holdPage = (event) => { if (drag && drag.active) event.preventDefault(); };
  page.addEventListener('touchmove', holdPage, {passive: false});
  page.addEventListener('contextmenu', (event) => { if (drag && drag.touch) event.preventDefault(); });

  // ---------------------------------------------------------------- keyboard

  function focusCell(index) {
    const slot = slots[Math.max(0, Math.min(slots.length - 1, index))];
    if (slot) slot.node.focus({preventScroll: false});
  }

  // The cell above or below: on the nearest other line, the one closest across.
  function lineNeighbour(index, direction) {
    const box = slots[index].ink.getBoundingClientRect(), middle = (box.left + box.right) / 2;
    let best = index, line = null, distance = Infinity;
    for (let i = index + direction; i >= 0 && i < slots.length; i += direction) {
      const other = slots[i].ink.getBoundingClientRect();
      if (Math.abs(other.top - box.top) < box.height / 2) continue;
      if (line === null) line = other.top;
      if (Math.abs(other.top - line) > box.height / 2) break;
      const away = Math.abs((other.left + other.right) / 2 - middle);
      if (away < distance) { distance = away; best = i; }
    }
    return best;
  }

  function moveTo(index, extend) {
    const target = Math.max(0, Math.min(slots.length - 1, index));
    const from = state.selection ? state.selection.anchor : state.hover;
    update(M.select(state, extend && from !== null ? from : target, target));
    focusCell(target);
  }

  function tokenKeys(event, index) {
    const extend = event.shiftKey;
    const actions = {
      ArrowLeft: () => moveTo(index - 1, extend), ArrowRight: () => moveTo(index + 1, extend),
      ArrowUp: () => moveTo(lineNeighbour(index, -1), extend),
      ArrowDown: () => moveTo(lineNeighbour(index, 1), extend),
      Home: () => moveTo(0, extend), End: () => moveTo(slots.length - 1, extend),
      Delete: () => maskHere(index), Backspace: () => maskHere(index), m: () => maskHere(index),
      u: () => { pin(index); withRange((a, b) => M.unmaskSpan(state, a, b)); },
      l: () => { pin(index); toggleLock(); },
      '+': () => { pin(index); changeMasks(1); }, '-': () => { pin(index); changeMasks(-1); },
      Enter: () => { pin(index); render(); if (canEdit()) ui['i-input'].focus(); },
      Escape: () => update(M.unselect(state)),
      ' ': togglePlay, ',': () => step(-1), '.': () => step(1),
    };
    return actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  }

  function pin(index) { if (!state.selection) update(M.select(state, index, index)); }
  function maskHere(index) { pin(index); withRange((a, b) => M.maskSpan(state, a, b)); }

  function blockKeys(event) {
    return {
      ArrowLeft: () => step(-1), ArrowRight: () => step(1), ',': () => step(-1), '.': () => step(1),
      ' ': togglePlay,
      Home: () => update(M.goTo(state, 0)), End: () => update(M.goTo(state, M.lastIndex(state))),
      Escape: () => update(M.unselect(state)),
    }[event.key];
  }

  block.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const index = indexOf(event.target);
    const own = event.target.closest('button, select, input, summary'); // these have keys of their own
    const free = !own || (own.tagName === 'BUTTON' && [',', '.', 'Escape'].includes(event.key));
    const action = index !== null ? tokenKeys(event, index) : free ? blockKeys(event) : null;
    if (!action) return;
    event.preventDefault();
    action();
  });
  page.addEventListener('focusin', (event) => {
    const index = indexOf(event.target);
    if (index !== null && !state.selection) update(M.hover(state, index));
  });

  // ---------------------------------------------------------------- messages

  let draftTimer = 0, draftSerial = 0;
  function forgetDraft() { draftSerial += 1; clearTimeout(draftTimer); }

  function absorb({state: next, fetch, warning}) {
    if (warning) console.warn(`token canvas: ${warning}`);
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
      console.warn(`token canvas: ${error.message}`);
    }
    absorb(M.supply(state, run, answer));
  }

  function take(text) {
    if (!text) return;
    let message;
    try {
      message = JSON.parse(text);
    } catch (error) {
      console.warn(`token canvas: ignored a message that is not JSON: ${error.message}`);
      return;
    }
    if (message && (message.k === 'open' || message.k === 'branch')) forgetDraft(); // asked for before the run
    absorb(M.receive(state, message));
  }

  // Gradio may throw the block away and make another; what listens outside it must then stop.
  function whileMounted(listener) {
    return function listen(event) {
      if (element.isConnected) listener(event);
      else (event.currentTarget || document).removeEventListener(event.type, listen);
    };
  }

  document.addEventListener('ddemo:draft', whileMounted((event) => {
    if (readOnly || !host.server || !host.server.draft || M.isBusy(state)) return;
    const {text, length, checkpoint} = event.detail || {};
    forgetDraft();
    const serial = draftSerial;
    draftTimer = setTimeout(async () => {
      let answer = '';
      try {
        answer = await host.server.draft(text, length, checkpoint);
      } catch (error) {
        console.warn(`token canvas: ${error.message}`);
      }
      if (serial === draftSerial && textBefore === null && !M.isBusy(state)) take(answer);
    }, DRAFT_WAIT_MS);
  }));

  document.addEventListener('ddemo:goto', whileMounted((event) => {
    const {run, step: wanted, at, pos} = event.detail || {};
    const shown = M.runShown(state);
    if (!shown || state.onDraft || (run && run !== shown.id)) return;
    let next = Number.isInteger(at) ? M.goTo(state, at) : state;
    for (let i = shown.stops.length - 1; i >= 0 && !Number.isInteger(at); i -= 1) {
      if (shown.stops[i].step === wanted) { next = M.goTo(next, i); break; }
    }
    if (Number.isInteger(pos) && pos >= 0 && pos < M.rowShown(next).length) next = M.select(next, pos, pos);
    update(next);
  }));

  document.addEventListener('ddemo:ask', whileMounted(() => tell(true)));
  document.addEventListener('ddemo:point', whileMounted((event) => {
    const {run, pos = null} = event.detail || {}, shown = M.runShown(state);
    pointed = shown && !state.onDraft && run === shown.id ? pos : null;
    schedule();
  }));

  render();
  take(host.value);
  host.watch(take);
  window.addEventListener('resize', whileMounted(() => { sheet.forget(); schedule(); }));
}
