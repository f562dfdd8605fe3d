/* Lanes side by side, as data: messages in, what is to be seen out. No DOM, no clock, no network.
 *
 * Each lane is a CanvasModel state of its own that holds one run, so its stop i is what stands after its step i.
 * One place on the slider puts every lane somewhere: at the same step, or at the same share of its run. A lane
 * that has ended stays as it is. Every function takes a state and returns a new one.
 */
const LanesModel = ((M) => {
  'use strict';

  const isInteger = Number.isInteger;
  const UNSOUGHT = {next: 0, parted: null, clashed: null}; // `next`: the first step that has not been looked at
  const ENDS = ['finished', 'stopped', 'failed'];

  function need(condition, what) {
    if (!condition) throw new TypeError(what);
  }

  function initial() {
    return {
      id: null, head: {title: '', question: ''}, next: 0, status: 'empty', say: '',
      lanes: [], // {label, about, group, say, canvas}; canvas null: it could not begin, and `say` tells why
      oneCanvas: false, // whether the lanes can be compared position by position
      at: 0, following: true, playing: null, speed: 1, lineUp: 'step',
      pinned: null, hover: null, // {lane, at}: a token; lane null where all lanes are meant
      partings: UNSOUGHT, measuring: null, measures: null, sentences: [],
      waiting: null, notice: '',
      gap: null, past: new Set(), // what is waited for, and the comparisons that were on show before
    };
  }

  // ---------------------------------------------------------------- lanes and the place on show

  const runOf = (lane) => (lane.canvas ? M.runShown(lane.canvas) : null);
  const runsOf = (state) => state.lanes.map(runOf).filter(Boolean);
  const lastOf = (run) => run.stops.length - 1;
  const newestOf = (run) => run.stops[lastOf(run)];

  // In steps: of a lane that is running, how many it is going to take if it takes every one.
  const lengthOf = (run) => (run.status === 'running' ? Math.max(run.head.steps || 0, lastOf(run)) : lastOf(run));
  const most = (numbers) => numbers.reduce((high, number) => Math.max(high, number), 0);

  const lastIndex = (state) => most(runsOf(state).map(lastOf));
  const longest = (state) => Math.max(1, most(runsOf(state).map(lengthOf)));

  // Whether it matters how lanes are lined up.
  const uneven = (state) => new Set(runsOf(state).map(lengthOf)).size > 1;
  const byShare = (state) => state.lineUp === 'share' && uneven(state);

  function stepOf(state, run) {
    const wanted = byShare(state) ? Math.round((state.at / longest(state)) * lengthOf(run)) : state.at;
    return Math.min(wanted, lastOf(run));
  }

  // Every lane's canvas where the slider says.
  function placed(state) {
    return {...state, lanes: state.lanes.map((lane) => {
      const run = runOf(lane);
      return run ? {...lane, canvas: M.goTo(lane.canvas, stepOf(state, run))} : lane;
    })};
  }

  const stopsShown = (state) => state.lanes.map((lane) => (lane.canvas ? M.stopShown(lane.canvas) : null));
  const standing = (state) => stopsShown(state).filter(Boolean);

  /* The same row, with the same tokens given: else there is no position that lanes have in common. */
  function shareCanvas(stops) {
    if (stops.length < 2) return false;
    const [first] = stops, given = (stop, at) => stop.flags[at] & M.FIXED;
    return stops.every((stop) => stop.tokens.length === first.tokens.length && stop.tokens.every((id, at) => (
      given(stop, at) === given(first, at) && (!given(stop, at) || id === first.tokens[at]))));
  }

  // ---------------------------------------------------------------- agreement

  /* The chance that two different entries, picked at random, are equal; NaN for fewer than two. */
  function sameOfTwo(column) {
    const counts = new Map();
    for (const id of column) counts.set(id, (counts.get(id) || 0) + 1);
    let same = 0;
    for (const count of counts.values()) same += count * (count - 1);
    return column.length > 1 ? same / (column.length * (column.length - 1)) : NaN;
  }

  /* At the place on show, position by position: `values` (NaN: fewer than two lanes hold a token there), `given`
   * (1: by the text), `all` (1: every lane holds the same token); and the mean over the values there are. */
  const found = new WeakMap();
  function agreement(state) {
    if (found.has(state.lanes)) return found.get(state.lanes);
    const stops = state.oneCanvas ? standing(state) : [], length = stops.length ? stops[0].tokens.length : 0;
    const values = new Float64Array(length).fill(NaN), given = new Uint8Array(length), all = new Uint8Array(length);
    let sum = 0, known = 0;
    for (let at = 0; at < length; at += 1) {
      const held = stops.map((stop) => stop.tokens[at]).filter((id, i) => id !== stops[i].mask);
      all[at] = held.length === stops.length && held.every((id) => id === held[0]) ? 1 : 0;
      given[at] = stops[0].flags[at] & M.FIXED ? 1 : 0;
      if (given[at]) continue;
      values[at] = sameOfTwo(held);
      if (values[at] >= 0) { sum += values[at]; known += 1; }
    }
    const result = {values, given, all, mean: known ? sum / known : NaN, known};
    found.set(state.lanes, result);
    return result;
  }

  // ---------------------------------------------------------------- where lanes part

  const firstWhere = (stops, differs) => stops[0].tokens.findIndex((_, at) => (
    differs(stops.map((stop) => stop.tokens[at]), stops.map((stop) => stop.mask))));
  const differ = (ids) => ids.some((id) => id !== ids[0]);
  const clash = (ids, masks) => differ(ids.filter((id, i) => id !== masks[i]));

  /* The first step after which two lanes' canvases differ, and the first after which two hold different tokens at
   * one position, rather than one of them a mask; each with the leftmost such position. Looks only at steps that
   * every running lane has taken, and at each of them once. */
  function seekPartings(state) {
    const runs = runsOf(state);
    let {next, parted, clashed} = state.partings;
    if (!state.oneCanvas || clashed) return state.partings;
    const running = runs.filter((run) => run.status === 'running').map(lastOf);
    const known = Math.min(lastIndex(state), ...running);
    for (; next <= known && !clashed; next += 1) {
      const stops = runs.map((run) => run.stops[Math.min(next, lastOf(run))]);
      const place = (at) => (at < 0 ? null : {step: next, at});
      parted = parted || place(firstWhere(stops, differ));
      if (parted) clashed = place(firstWhere(stops, clash));
    }
    return {next, parted, clashed};
  }

  const number = (index) => index + 1; // people count from one; the messages count from zero

  // The different words that lanes hold at one position after one step, in order of the lanes.
  function wordsAt(state, {step, at}) {
    const words = runsOf(state).map((run) => {
      const stop = run.stops[Math.min(step, lastOf(run))], id = stop.tokens[at];
      return id === stop.mask ? '' : M.tokenText(run.vocab, id).trim() || '␣';
    });
    return [...new Set(words.filter(Boolean))];
  }

  function partingWords(state) {
    const {parted, clashed} = state.partings, words = clashed ? wordsAt(state, clashed) : [];
    const quoted = words.slice(0, 3).map((word) => `“${word}”`).join(' / ') + (words.length > 3 ? ' …' : '');
    const where = ({step, at}) => `at step ${step}, token ${number(at)}`;
    if (!state.oneCanvas) return {parted: '', clashed: ''};
    const over = state.status !== 'running';
    if (!parted) return {parted: over ? 'The lanes never part.' : 'The lanes have not parted yet.', clashed: ''};
    const first = parted.step ? `Lanes part ${where(parted)}.`
      : `Lanes differ from the start, token ${number(parted.at)}.`;
    if (clashed) return {parted: first, clashed: `They first hold different words ${where(clashed)}: ${quoted}`};
    const yet = over ? 'They never hold different words at the same place.' : 'They hold no different words yet.';
    return {parted: first, clashed: yet};
  }

  // ---------------------------------------------------------------- messages

  function openLanes(state, message) {
    need(Array.isArray(message.lanes) && message.lanes.length > 0, 'lanes without lanes');
    const lanes = message.lanes.map((lane) => ({
      label: String(lane.label || ''), about: String(lane.about || ''), group: String(lane.group || ''),
      say: String(lane.say || ''), canvas: lane.m ? received(M.initial(), lane.m) : null,
    }));
    const head = message.head || {};
    const past = new Set(state.past);
    if (state.id !== null) past.add(state.id);
    past.delete(message.run); // the same again
    return {
      ...initial(), id: message.run, past, lanes, status: 'running', speed: state.speed, lineUp: state.lineUp,
      head: {title: String(head.title || ''), question: String(head.question || '')},
      oneCanvas: shareCanvas(lanes.map((lane) => lane.canvas && M.stopShown(lane.canvas)).filter(Boolean)),
    };
  }

  function received(canvas, message) {
    const {state, fetch, warning} = M.receive(canvas, message);
    need(!warning && !fetch, warning || 'a lane that missed a message');
    need(M.runShown(state), 'a lane without a run');
    return state;
  }

  function addToLanes(state, message) {
    need(Array.isArray(message.of), `${message.k} of no lanes`);
    const lanes = [...state.lanes];
    for (const [index, inner] of message.of) {
      need(lanes[index] && lanes[index].canvas, `there is no lane ${index}`);
      lanes[index] = {...lanes[index], canvas: received(lanes[index].canvas, inner)};
    }
    return {...state, lanes};
  }

  function setMeasures(state, message) {
    const {lanes = [], groups = []} = message.measures || {};
    need(Array.isArray(lanes) && Array.isArray(groups), 'measures that are no lists');
    return {...state, measures: {lanes, groups}, sentences: (message.sentences || []).map(String)};
  }

  function endAll(state, message) {
    need(ENDS.includes(message.state), `unknown state ${message.state}`);
    return {...state, status: message.state, say: String(message.say || ''), measuring: null};
  }

  const APPLY = {
    lanes: openLanes, turn: addToLanes, 'lane-end': addToLanes, measures: setMeasures, end: endAll,
    measuring: (state, {done, all}) => ({...state, measuring: {done, all}}),
  };
  const SENTENCES = { // of no comparison: what went wrong, or what is being waited for
    say: (state, text) => ({...state, notice: text, waiting: null}),
    wait: (state, text) => ({...state, notice: '', waiting: {text}, playing: null}),
  };

  function applied(state, message) {
    let next = APPLY[message.k](state, message);
    next = {...next, next: message.n + 1, waiting: null, notice: ''};
    if (next.lanes === state.lanes && next.status === state.status) return next;
    next = {...next, partings: seekPartings(next)};
    const at = next.following && !next.playing ? lastIndex(next) : next.at;
    return placed({...next, at});
  }

  function openWhole(state, message) {
    need(Array.isArray(message.m) && message.m.length > 0 && message.m[0].k === 'lanes', 'no comparison');
    const done = message.m.reduce(applied, state);
    return {...done, status: done.status === 'running' ? 'finished' : done.status};
  }

  /* One message. Returns {state, fetch, warning}: `fetch` {run, n} asks the caller for the messages of a
   * comparison from n on (hand them to `supply`); `warning` says why a message was ignored. */
  function receive(state, message) {
    const result = (next, fetch = null, warning = '') => ({state: next, fetch, warning});
    const kind = message && typeof message === 'object' ? message.k : message;
    if (kind in SENTENCES) return result(SENTENCES[kind](state, String(message.text || '')));
    if (kind === 'whole') return attempt(state, message, openWhole);
    if (!(kind in APPLY)) return result(state, null, `unknown message ${kind}`);
    if (typeof message.run !== 'string' || !isInteger(message.n)) {
      return result(state, null, 'message without run or n');
    }
    if (state.past.has(message.run)) return result(state); // of a comparison that is no longer on show
    const known = message.run === state.id;
    if (known && message.n < state.next) return result(state);
    if (!known && message.k === 'lanes' && message.n === 0) return attempt(state, message, applied);
    if (!known || message.n > state.next) return keep(state, message, known ? state.next : 0);
    return attempt(state, message, applied);
  }

  function attempt(state, message, apply) {
    try {
      return {state: apply(state, message), fetch: null, warning: ''};
    } catch (error) {
      // What cannot be read counts as seen: asking for it again would bring the same.
      const next = message.run === state.id && message.n === state.next ? {...state, next: state.next + 1} : state;
      return {state: next, fetch: null, warning: `ignored a malformed ${message.k}: ${error.message}`};
    }
  }

  // A message that came too early is kept until those before it have been fetched.
  function keep(state, message, n) {
    const gap = state.gap && state.gap.run === message.run ? state.gap : {run: message.run, n, held: [], lost: false};
    if (gap.lost) return {state, fetch: null, warning: ''}; // asked before, in vain
    const fetch = gap.held.length ? null : {run: gap.run, n: gap.n};
    return {state: {...state, gap: {...gap, held: [...gap.held, message]}}, fetch, warning: ''};
  }

  /* The answer to a fetch: `messages` in order, null when there was none. What had arrived early follows. */
  function supply(state, run, messages) {
    const {gap} = state;
    if (!gap || gap.run !== run || gap.lost) return {state, fetch: null, warning: ''};
    let next = {...state, gap: null}, warning = '', progress = false;
    const pass = (message) => {
      const expected = message && (message.run === next.id ? message.n <= next.next : message.n === 0);
      if (!expected) return false;
      const before = next.next, step = receive(next, message);
      next = step.state;
      progress = progress || next.id !== state.id || next.next > before;
      warning = warning || step.warning;
      return true;
    };
    (messages || []).forEach(pass);
    const left = [...gap.held].sort((a, b) => a.n - b.n).filter((message) => !pass(message));
    if (!left.length) return {state: next, fetch: null, warning};
    if (progress) return left.reduce((all, message) => {
      const {state: kept, fetch} = keep(all.state, message, next.next);
      return {...all, state: kept, fetch: all.fetch || fetch};
    }, {state: next, fetch: null, warning});
    const say = 'Some steps did not arrive. What is here can still be read.';
    const broken = next.id === run && next.status === 'running' ? {status: 'failed', say} : {};
    return {
      state: {...next, ...broken, waiting: null, gap: {...gap, held: [], lost: true}}, fetch: null,
      warning: `messages of comparison ${run} could not be had`,
    };
  }

  // ---------------------------------------------------------------- player

  function goTo(state, index) {
    const last = lastIndex(state), at = Math.max(0, Math.min(last, Math.round(index)));
    return placed({...state, at, playing: null, following: at === last});
  }

  function play(state, now) {
    const last = lastIndex(state);
    if (!last) return state;
    const from = state.at >= last && state.status !== 'running' ? 0 : state.at;
    return {...goTo(state, from), playing: {from, start: now}, following: false};
  }

  const pause = (state) => (state.playing ? {...state, playing: null} : state);

  function tick(state, now) {
    if (!state.playing) return state;
    const last = lastIndex(state);
    const at = M.playedTo(state.playing.from, now - state.playing.start, last + 1, state.speed);
    const moved = at === state.at ? state : placed({...state, at});
    return at >= last ? {...moved, playing: null, following: true} : moved;
  }

  function setSpeed(state, speed, now) {
    return {...state, speed, playing: state.playing && {from: state.at, start: now}};
  }

  const setLineUp = (state, lineUp) => placed({...state, lineUp});

  // To where lanes part, which is a step: so they are lined up by step there.
  function goToPlace(state, {step, at}) {
    return {...goTo({...state, lineUp: 'step'}, step), pinned: {lane: null, at}, hover: null};
  }

  // Slider: `have` stops are there, `max` is where the longest lane is going to end.
  function player(state) {
    const have = lastIndex(state), max = longest(state), share = byShare(state);
    const {parted, clashed} = state.partings;
    const tick = (place, kind) => (place && !share ? [{at: place.step, kind}] : []);
    return {
      enabled: have > 0, at: state.at, have, max, share, live: state.status === 'running',
      following: state.following && state.at >= have,
      ticks: [...tick(parted, 'parted'), ...tick(clashed, 'clashed')],
    };
  }

  // "as of step 7": what the place on show is called.
  function placeWords(state) {
    if (byShare(state)) return `at ${Math.round((100 * state.at) / longest(state))} % of each run`;
    return `as of step ${state.at}`;
  }

  // ---------------------------------------------------------------- one position in all lanes

  const hover = (state, token) => ({...state, hover: token});
  const pin = (state, token) => ({...state, pinned: token, hover: null});
  const pointedAt = (state) => state.pinned || state.hover;

  /* The token pointed at or pinned, in every lane: [info as CanvasModel.inspect gives it, or null]. */
  function inspect(state) {
    const token = pointedAt(state);
    if (!token) return null;
    const lanes = state.lanes.map((lane) => (
      lane.canvas ? M.inspect(M.hover(M.unselect(lane.canvas), token.at)) : null));
    if (lanes.every((info) => info === null)) return null;
    return {at: token.at, number: number(token.at), pinned: Boolean(state.pinned), lanes};
  }

  // ---------------------------------------------------------------- sentences

  const plural = (n, one) => `${n} ${one}${n === 1 ? '' : 's'}`;

  // {kind, text}: the state of a lane at the place on show.
  function laneStatus(state, index) {
    const lane = state.lanes[index], run = runOf(lane);
    if (!run) return {kind: 'failed', text: lane.say || 'This lane could not begin.', facts: ''};
    const stop = M.stopShown(lane.canvas), newest = newestOf(run);
    const of = run.status === 'finished' ? newest.step : Math.max(run.head.steps || 0, newest.step);
    const facts = `step ${stop.step} of ${of} · NFE ${stop.nfe || 0}`;
    if (run.status === 'running') return {kind: 'running', text: '', facts};
    const lost = 'This lane failed; its steps are kept.';
    if (run.status === 'failed') return {kind: 'failed', text: run.say || lost, facts};
    if (run.status === 'stopped') return {kind: 'stopped', text: run.say || `stopped at step ${newest.step}`, facts};
    return {kind: 'finished', text: run.say || 'finished', facts};
  }

  // {kind, text}: the state of the comparison in one sentence.
  function status(state) {
    if (state.notice) return {kind: 'notice', text: state.notice};
    if (state.waiting) return {kind: 'loading', text: state.waiting.text || 'Waiting for the model…'};
    if (state.id === null) {
      return {kind: 'empty', text: 'Choose a question and press Compare: its lanes are written here side by side.'};
    }
    const failed = state.lanes.filter((_, i) => laneStatus(state, i).kind === 'failed').length;
    const whole = state.lanes.length - failed;
    const lost = failed && whole ? ` ${plural(failed, 'lane')} failed; the others are whole.` : '';
    if (state.status === 'failed') return {kind: 'failed', text: state.say || 'This comparison failed.'};
    if (state.status === 'running' && state.measuring) {
      return {kind: 'running', text: `Measuring, ${state.measuring.done} of ${state.measuring.all}.${lost}`};
    }
    if (state.status === 'running') {
      const over = runsOf(state).every((run) => run.status !== 'running');
      return {kind: 'running', text: (over ? 'The lanes are done.' : `Denoising ${plural(whole, 'lane')}…`) + lost};
    }
    if (state.status === 'stopped') {
      return {kind: 'stopped', text: (state.say || 'Stopped: what is here can be read and measured.') + lost};
    }
    return {kind: 'finished', text: (state.say || `Finished: ${plural(whole, 'lane')} of the same text.`) + lost};
  }

  function marksOf(state) {
    const marks = M.marksOf(null);
    for (const run of runsOf(state)) {
      for (const [name, seen] of Object.entries(M.marksOf(run))) marks[name] = marks[name] || seen;
      marks.fresh = true;
      marks.filled = true;
    }
    return marks;
  }

  // ---------------------------------------------------------------- the table of measures

  const ratio = (x) => x.toFixed(2);
  const whole = (x) => (Number.isInteger(x) ? String(x) : x.toFixed(1));
  const PERPLEXITY = (x) => (x >= 100 ? x.toFixed(0) : x.toFixed(1));
  const COLUMNS = [
    {name: 'distinct_1', title: 'distinct-1', format: ratio, about: 'different words over all words written'},
    {name: 'distinct_2', title: 'distinct-2', format: ratio, about: 'different pairs of words over all pairs'},
    {name: 'distinct_3', title: 'distinct-3', format: ratio, about: 'different triples of words over all triples'},
    {name: 'repetition', title: 'repetition', format: ratio,
      about: 'share of runs of four words that were there before'},
    {name: 'bits_per_character', title: 'bits a character', format: ratio,
      about: "the checkpoint's own bound on the whole text: less is less surprising to it"},
    {name: 'perplexity', title: 'judge perplexity', format: PERPLEXITY,
      about: 'of the whole text under an independent autoregressive model: less is less surprising to it'},
    {name: 'nfe', title: 'NFE', format: whole, counted: true, about: 'denoiser calls'},
    {name: 'seconds', title: 'seconds', format: (x) => x.toFixed(1), counted: true, about: 'until the lane was done'},
    {name: 'edit_distance', title: 'edit distance', format: ratio, ofGroups: true,
      about: 'mean over pairs of lanes: the share of tokens to change to make one of the other'},
    {name: 'agreement', title: 'agreement', format: ratio, ofGroups: true,
      about: 'mean over positions: the chance that two lanes hold the same token'},
  ];

  function errorText(column, error) {
    if (typeof error !== 'number' || !(error >= 0)) return '';
    const text = column.format(error);
    return column.counted && Number(text) === 0 ? '' : text; // the same for all
  }

  function tableCell(column, value, ofGroup) {
    if (column.ofGroups && !ofGroup) return {text: '', error: '', why: ''}; // a lane alone has none
    const {number: x = null, error = null, why = ''} = value || {};
    const known = typeof x === 'number' && Number.isFinite(x);
    return {
      text: known ? column.format(x) : '–', error: known ? errorText(column, error) : '',
      why: known ? why : why || 'It was not measured.',
    };
  }

  /* {columns, rows: [{label, ofGroup, cells: [{text, error, why}]}], notes}: as it is to be shown; columns that only
   * groups have are left out where there is none. `notes` say what stands behind a dash, each reason once. */
  function table(state) {
    const groups = state.measures ? state.measures.groups : [], lanes = state.measures ? state.measures.lanes : [];
    const columns = COLUMNS.filter((column) => groups.length || !column.ofGroups);
    const rowOf = (label, values, ofGroup) => ({
      label, ofGroup, cells: columns.map((column) => tableCell(column, values && values[column.name], ofGroup)),
    });
    const rows = [
      ...state.lanes.map((lane, i) => rowOf(lane.label, lanes[i], false)),
      ...groups.map((group) => rowOf(String(group.label || group.name), group.values, true)),
    ];
    return {columns, rows, notes: state.measures ? notesOf(columns, rows) : []};
  }

  function notesOf(columns, rows) {
    const reasons = new Map(); // why -> column -> labels of rows
    for (const {label, cells} of rows) {
      cells.forEach(({why, text}, i) => {
        if (!why) return;
        const mark = text === '–' ? '– ' : '', key = mark + why;
        if (!reasons.has(key)) reasons.set(key, new Map());
        const places = reasons.get(key), {title} = columns[i];
        places.set(title, [...(places.get(title) || []), label]);
      });
    }
    return [...reasons].map(([key, places]) => {
      const dash = key.startsWith('– ');
      const where = [...places].map(([title, labels]) => {
        const all = labels.length === rows.length, several = labels.length > 3;
        return all ? title : `${title} of ${several ? `${labels.length} rows` : labels.join(', ')}`;
      });
      return `${dash ? '– ' : ''}${where.join('; ')}: ${dash ? key.slice(2) : key}`;
    });
  }

  return {
    initial, receive, supply, goTo, play, pause, tick, setSpeed, setLineUp, goToPlace, player, lastIndex, longest,
    uneven, byShare, agreement, sameOfTwo, partingWords, placeWords, hover, pin, pointedAt, inspect, laneStatus,
    status, marksOf, table, number, runOf,
  };
})(typeof CanvasModel !== 'undefined' ? CanvasModel : require('../token_canvas/model.js'));

if (typeof module !== 'undefined') module.exports = LanesModel;
