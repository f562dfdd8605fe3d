/* A second look at the run on show: its words, and the two buttons.
 *
 * mountSecondLook(element, host): `element` contains look.html. host = {
 *   trigger(name, data)   tells Python: "look" {what, run, n}, "halt" {}
 *   watch(fn)             calls fn with each value that follows, a JSON string
 *   root                  where the canvas's events pass; the document by default
 * }
 * Hears `ddemo:shown` {shown, share} of the canvas and `ddemo:look` {what}, a press from elsewhere on the page; says
 * `ddemo:looking` {what, on, text} when that is another.
 */
const LookWords = (() => {
  'use strict';

  const LOOKS = {exact: 'Exact values', clashes: 'Clashes of parallel commits'};
  const SHARES = {0.1: 'a tenth', 0.25: 'a quarter', 0.5: 'half', 0.75: 'three quarters'};
  const whole = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ','); // 2823 -> 2,823
  const counted = (n, one) => `${whole(n)} ${one}${n === 1 ? '' : 's'}`;
  const lastStep = (run) => run.stops[run.stops.length - 1].step;

  /* What it would cost: rows, and seconds where this run was made here and so its calls were timed. Those had one row
   * each; several at once take less. */
  function cost(run, rows) {
    const calls = run.stops[run.stops.length - 1].nfe - run.before;
    const told = counted(rows, 'denoiser row');
    if (!rows || run.stored || !(run.seconds > 0 && calls > 0)) return `${told}.`;
    const seconds = (rows * run.seconds) / calls;
    return seconds < 1 ? `${told}, less than a second.` : `${told}, up to ${whole(Math.ceil(seconds))} s.`;
  }

  const upTo = (run, {steps}) => (steps < lastStep(run) ? `Stopped after step ${steps} of ${lastStep(run)}. ` : '');

  function exactWords(run) {
    let values = 0, beyond = 0, furthest = 0;
    for (const {rank} of run.exact.of.values()) {
      for (const place of rank) {
        if (!place) continue;
        values += 1;
        if (place > (run.head.k || 0)) beyond += 1;
        if (place > furthest) furthest = place;
      }
    }
    const kept = `the ${counted(run.head.k || 0, 'candidate')} kept`;
    const lie = beyond === 1 ? 'lies' : 'lie';
    const far = beyond ? `${whole(beyond)} ${lie} beyond ${kept}, the furthest at rank ${whole(furthest)}.`
      : `none lies beyond ${kept}.`;
    return `${upTo(run, run.exact)}${counted(values, 'value')} known exactly; ${far}`;
  }

  // In single precision, as the canvas and the charts compare them.
  const clashes = ({p, was}, share) => p < Math.fround(Math.fround(share) * was);

  function clashWords(run, share) {
    const together = [...run.clashes.of.values()].filter(({others}) => others > 0);
    const part = upTo(run, run.clashes);
    if (!together.length) return `${part}Every token was committed alone, so none clashes.`;
    const found = together.filter((given) => clashes(given, share)).length;
    const keep = `${found === 1 ? 'keeps' : 'keep'} less than ${SHARES[share] || share} of`;
    const their = found === 1 ? 'its' : 'their';
    return `${part}${whole(found)} of ${counted(together.length, 'token')} committed together ${keep} ${their} `
      + 'probability given the others.';
  }

  /* One button and the line beside it: {label, enabled, on, kind, text}. `told`: what the server said last of this
   * run and look, or null; `busy`: the look that is under way anywhere, or null. */
  function offer(run, what, told, busy, share) {
    const label = LOOKS[what], idle = {label, enabled: false, on: false, kind: 'cost'};
    const found = run && (what === 'exact' ? run.exact : run.clashes);
    if (told && ['asked', 'waiting', 'working'].includes(told.state)) {
      const far = told.state === 'working' ? `${whole(told.done)} of ${counted(told.all, 'row')}` : '';
      return {label: 'Stop', enabled: true, on: true, kind: 'working', text: far || told.say || 'Waiting…'};
    }
    if (!run) return {...idle, text: 'Once there is a run.'};
    if (run.status === 'running') return {...idle, text: 'Once the run has ended.'};
    const enabled = !busy && !(found && found.steps >= lastStep(run));
    if (told && told.say) return {...idle, enabled, kind: told.state, text: told.say};
    if (found) {
      const text = what === 'exact' ? exactWords(run) : clashWords(run, share);
      return {...idle, enabled, kind: 'found', text};
    }
    if (busy && busy.run !== run.id) return {...idle, text: 'Once the look at the other run has ended.'};
    const rows = run.rows ? run.rows[what === 'exact' ? 'final' : 'hazard'] : undefined;
    if (rows === undefined) return {...idle, enabled, text: ''};
    if (rows === null) return {...idle, enabled, text: 'Not under this noise: no token is committed.'};
    if (rows) return {...idle, enabled, text: cost(run, rows)};
    if (what === 'exact') return {...idle, text: 'The model was not asked anything.'};
    return {...idle, enabled, text: 'No denoiser rows: every token was committed alone.'};
  }

  return {LOOKS, cost, exactWords, clashWords, offer};
})();

function mountSecondLook(element, host) {
  'use strict';

  const ANSWER_WAIT_MS = 30000;
  const NO_ANSWER = 'The server has not answered yet: try once more.';
  const root = host.root || document;
  const ui = {};
  element.querySelectorAll('[data-ddl]').forEach((node) => { ui[node.dataset.ddl] = node; });

  let run = null, share = 0.5; // what the canvas shows
  let busy = null; // {run, what, state, ...}: the look that is under way
  const told = new Map(); // `run/what` -> the last that was said of a look that has ended

  const keyOf = (id, what) => `${id}/${what}`;
  const setText = (node, text) => { if (node.textContent !== text) node.textContent = text; };

  function draw() {
    for (const what of Object.keys(LookWords.LOOKS)) {
      const mine = busy && busy.what === what && run && busy.run === run.id ? busy : null;
      const said = mine || (run ? told.get(keyOf(run.id, what)) : null) || null;
      const {label, enabled, on, kind, text} = LookWords.offer(run, what, said, busy, share);
      setText(ui[what], label);
      ui[what].dataset.on = String(on);
      ui[what].disabled = !enabled;
      setText(ui[`${what}-line`], text);
      ui[`${what}-line`].dataset.kind = kind;
      tell(what, on, text);
    }
  }

  const heard = {}; // what was told of each look
  function tell(what, on, text) {
    const words = on ? text : '';
    if (heard[what] === words) return;
    heard[what] = words;
    root.dispatchEvent(new CustomEvent('ddemo:looking', {detail: {what, on, text: words}}));
  }

  function press(what) {
    const mine = busy && run && busy.run === run.id && busy.what === what;
    if (mine) {
      host.trigger('halt', {});
      return;
    }
    if (!run || ui[what].disabled) return;
    told.delete(keyOf(run.id, what));
    busy = {run: run.id, what, state: 'asked', say: ''};
    const asked = busy;
    host.trigger('look', {what, run: run.id, n: run.next});
    setTimeout(() => {
      if (busy === asked) ended({...asked, state: 'refused', say: NO_ANSWER});
    }, ANSWER_WAIT_MS);
    draw();
  }

  function ended(said) {
    busy = null;
    if (said.say) told.set(keyOf(said.run, said.what), said);
    draw();
    if (run && run.id === said.run) announce(said.what);
  }

  // What was found arrives at the canvas with the end, and is drawn in the next frame.
  function announce(what) {
    requestAnimationFrame(() => requestAnimationFrame(() => setText(ui.announce, ui[`${what}-line`].textContent)));
  }

  function take(text) {
    const said = JSON.parse(text || '{}');
    if (!said.what) return;
    if (['waiting', 'working'].includes(said.state)) {
      busy = said;
      draw();
    } else ended(said);
  }

  for (const what of Object.keys(LookWords.LOOKS)) ui[what].addEventListener('click', () => press(what));

  // Gradio may throw the block away and make another; what listens outside it must then stop.
  function whileMounted(listener) {
    return function listen(event) {
      if (element.isConnected) listener(event);
      else event.currentTarget.removeEventListener(event.type, listen);
    };
  }

  root.addEventListener('ddemo:shown', whileMounted((event) => {
    const {shown = null, share: chosen} = event.detail || {};
    if (shown === run && (!(chosen > 0) || chosen === share)) return;
    run = shown && Array.isArray(shown.stops) && shown.stops.length ? shown : null;
    if (chosen > 0) share = chosen;
    draw();
  }));
  root.addEventListener('ddemo:look', whileMounted((event) => {
    const {what} = event.detail || {};
    if (what in LookWords.LOOKS) press(what);
  }));
  host.watch(take);
  draw();
  root.dispatchEvent(new CustomEvent('ddemo:ask', {detail: {}}));
}

if (typeof module !== 'undefined') module.exports = LookWords;
