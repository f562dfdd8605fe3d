// Lanes side by side as data, under Node: `node --test tests/ui/lanes.test.mjs`.
import assert from 'node:assert/strict';
import {createRequire} from 'node:module';
import {test} from 'node:test';

const FOLDER = new URL('../../ddemo/ui/', import.meta.url);
const require = createRequire(import.meta.url);
const M = require(new URL('token_canvas/model.js', FOLDER).pathname);
const L = require(new URL('lanes/model.js', FOLDER).pathname);

const MASK = 4;
const WORDS = {10: 'The', 11: ' old', 12: ' sailor', 13: ' sat', 14: ' ran', 15: '.'};
const HEAD = {mask: MASK, steps: 3, hmax: 8, id_bytes: 2, k: 0, sampler: 'Confidence', seed: 7};
const near = (a, b) => assert.ok(Math.abs(a - b) < 1e-9, `${a} is not ${b}`);

// The canvas is "The", then three masks.
const lane = (i, label, {steps = 3, tokens = [10, MASK, MASK, MASK], fixed = [0], head = {}} = {}) => ({
  label, about: '', group: '',
  m: {k: 'open', run: `c/${i}`, n: 0, head: {...HEAD, steps, ...head}, vocab: WORDS,
    segment: {step: 0, t: 1, tokens, fixed, forced: [], locked: []}},
});
const lanes = (list, run = 'c') => ({k: 'lanes', run, n: 0, head: {title: 'T', question: 'Q'}, lanes: list});
const frame = (i, step, set) => [i, {k: 'frame', run: `c/${i}`, n: step, step, t: 0, nfe: step, set, fresh: true}];
const turn = (n, ...of) => ({k: 'turn', run: 'c', n, of});
const over = (i, n, state = 'finished', say = '') => [i, {k: 'end', run: `c/${i}`, n, state, say, seconds: 1}];
const ends = (n, ...of) => ({k: 'lane-end', run: 'c', n, of});

/* Two lanes: alike after step 1, one ahead after step 2 (token 3), different words after step 3 (token 4). */
const TWO = [
  lanes([lane(0, 'argmax'), lane(1, 'sample')]),
  turn(1, frame(0, 1, [[1, 11, 0.5]]), frame(1, 1, [[1, 11, 0.5]])),
  turn(2, frame(0, 2, [[2, 12, 0.5]]), frame(1, 2, [])),
  turn(3, frame(0, 3, [[3, 13, 0.5]]), frame(1, 3, [[2, 12, 0.2], [3, 14, 0.2]])),
  ends(4, over(0, 4), over(1, 4)),
  {k: 'end', run: 'c', n: 5, state: 'finished', say: ''},
];

function feed(messages, state = L.initial()) {
  const warnings = [];
  for (const message of messages) {
    const result = L.receive(state, message);
    assert.equal(result.fetch, null);
    if (result.warning) warnings.push(result.warning);
    state = result.state;
  }
  assert.deepEqual(warnings, []);
  return state;
}

const text = (state, i) => M.cells(state.lanes[i].canvas).map((c) => (c.masked ? '_' : c.gap + c.ink)).join('');
const texts = (state) => state.lanes.map((_, i) => text(state, i));
const values = (state) => Array.from(L.agreement(state).values).map((v) => (Number.isNaN(v) ? null : v));

test('one place moves all lanes', () => {
  const state = feed(TWO);
  assert.deepEqual(texts(state), ['The old sailor sat', 'The old sailor ran']);
  assert.deepEqual(texts(L.goTo(state, 2)), ['The old sailor_', 'The old__']);
  assert.deepEqual(texts(L.goTo(state, 0)), ['The___', 'The___']);
  assert.equal(L.goTo(state, 99).at, 3);
  assert.equal(L.status(state).kind, 'finished');
  assert.equal(L.laneStatus(L.goTo(state, 1), 1).facts, 'step 1 of 3 · NFE 1');
});

test('where lanes part and where they first hold different words are two places', () => {
  const state = feed(TWO);
  assert.deepEqual(state.partings.parted, {step: 2, at: 2});
  assert.deepEqual(state.partings.clashed, {step: 3, at: 3});
  assert.deepEqual(L.partingWords(state), {
    parted: 'Lanes part at step 2, token 3.',
    clashed: 'They first hold different words at step 3, token 4: “sat” / “ran”',
  });
  assert.deepEqual(L.player(state).ticks, [{at: 2, kind: 'parted'}, {at: 3, kind: 'clashed'}]);
  const there = L.goToPlace(state, state.partings.parted);
  assert.equal(there.at, 2);
  assert.deepEqual(L.inspect(there).lanes.map((info) => info.cell.masked), [false, true]);
  assert.deepEqual([L.inspect(there).number, L.inspect(there).pinned], [3, true]);
});

test('partings are said as soon as they are known, and not before', () => {
  const early = feed(TWO.slice(0, 2));
  assert.deepEqual(early.partings, {next: 2, parted: null, clashed: null});
  assert.equal(L.partingWords(early).parted, 'The lanes have not parted yet.');
  assert.deepEqual(feed(TWO.slice(0, 3)).partings.parted, {step: 2, at: 2});
  // A lane that is a turn behind may yet do the same.
  const behind = feed([...TWO.slice(0, 2), turn(2, frame(0, 2, [[2, 12, 0.5]]))]);
  assert.equal(behind.partings.parted, null);
  const same = feed([TWO[0], ends(1, over(0, 1), over(1, 1)), {k: 'end', run: 'c', n: 2, state: 'finished'}]);
  assert.equal(L.partingWords(same).parted, 'The lanes never part.');
});

test('of several positions at one step the leftmost is meant', () => {
  const state = feed([TWO[0], turn(1, frame(0, 1, [[3, 13, 1], [2, 12, 1]]), frame(1, 1, [[3, 14, 1], [2, 14, 1]]))]);
  assert.deepEqual(state.partings.parted, {step: 1, at: 2});
  assert.deepEqual(state.partings.clashed, {step: 1, at: 2});
});

test('agreement: the chance that two lanes hold the same token, of those that hold one', () => {
  near(L.sameOfTwo([1, 1, 2]), 1 / 3);
  near(L.sameOfTwo([1, 1, 2, 2]), 1 / 3);
  assert.equal(L.sameOfTwo([1, 1]), 1);
  assert.ok(Number.isNaN(L.sameOfTwo([1])) && Number.isNaN(L.sameOfTwo([])));
  const state = feed(TWO);
  assert.deepEqual(values(state), [null, 1, 1, 0]);
  near(L.agreement(state).mean, 2 / 3);
  assert.deepEqual([...L.agreement(state).given], [1, 0, 0, 0]);
  assert.deepEqual([...L.agreement(state).all], [1, 1, 1, 0]);
  const before = L.goTo(state, 2); // one lane alone holds token 3
  assert.deepEqual(values(before), [null, 1, null, null]);
  assert.deepEqual([...L.agreement(before).all], [1, 1, 0, 0]);
  assert.ok(Number.isNaN(L.agreement(L.goTo(state, 0)).mean));
});

const UNEVEN = [
  lanes([lane(0, '1 step', {steps: 1}), lane(1, '3 steps')]),
  turn(1, frame(0, 1, [[1, 11, 1], [2, 12, 1], [3, 13, 1]]), frame(1, 1, [[1, 11, 1]])),
  ends(2, over(0, 2)),
  turn(3, frame(1, 2, [[2, 12, 1]])),
  turn(4, frame(1, 3, [[3, 14, 1]])),
  ends(5, over(1, 4)),
  {k: 'end', run: 'c', n: 6, state: 'finished', say: ''},
];

test('a lane that has ended stays as it is; lanes line up by step or by share', () => {
  const state = feed(UNEVEN);
  assert.ok(L.uneven(state) && !L.uneven(feed(TWO)));
  assert.deepEqual(texts(L.goTo(state, 2)), ['The old sailor sat', 'The old sailor_']);
  const share = L.setLineUp(state, 'share');
  assert.deepEqual(texts(L.goTo(share, 1)), ['The___', 'The old__']); // a third of one step is none
  assert.deepEqual(texts(L.goTo(share, 2)), ['The old sailor sat', 'The old sailor_']);
  assert.equal(L.placeWords(L.goTo(share, 2)), 'at 67 % of each run');
  assert.deepEqual(L.player(share).ticks, [], 'lanes part at a step, which is no share');
  const there = L.goToPlace(share, state.partings.clashed);
  assert.deepEqual([there.lineUp, there.at], ['step', 3]);
  assert.equal(L.byShare(L.setLineUp(feed(TWO), 'share')), false, 'there is nothing to line up');
});

test('while lanes run the slider follows, and stays where it was put', () => {
  let state = feed(UNEVEN.slice(0, 2));
  assert.deepEqual([L.player(state).at, L.player(state).have, L.player(state).max], [1, 1, 3]);
  assert.ok(L.player(state).live && L.player(state).following);
  state = feed(UNEVEN.slice(2, 4), L.goTo(state, 0));
  assert.deepEqual([state.at, L.player(state).following, L.player(state).have], [0, false, 2]);
  state = feed(UNEVEN.slice(4), L.goTo(state, 2));
  assert.equal(state.at, 3);
  assert.equal(L.player(state).live, false);
});

test('playing goes from the start to the end and stops there', () => {
  let state = L.play(feed(TWO), 1000);
  assert.equal(state.at, 0);
  state = L.tick(state, 1130);
  assert.equal(state.at, 1);
  state = L.tick(state, 60000);
  assert.deepEqual([state.at, state.playing], [3, null]);
  assert.equal(L.pause(L.play(state, 0)).playing, null);
});

test('everything in one message is the same as one after another', () => {
  const whole = feed([{k: 'whole', run: 'c', m: TWO}]), streamed = feed(TWO);
  assert.deepEqual(texts(whole), texts(streamed));
  assert.deepEqual(whole.partings, streamed.partings);
  assert.deepEqual([whole.at, whole.status, whole.head], [3, 'finished', {title: 'T', question: 'Q'}]);
  const again = feed([{k: 'whole', run: 'c', m: TWO}, {k: 'measuring', run: 'c', n: 6, done: 0, all: 2}], whole);
  assert.deepEqual([again.status, again.measuring], ['finished', {done: 0, all: 2}]);
});

test('messages that did not arrive are asked for, and what came early follows them', () => {
  let state = feed(TWO.slice(0, 2));
  let result = L.receive(state, TWO[3]);
  assert.deepEqual(result.fetch, {run: 'c', n: 2});
  result = L.receive(result.state, TWO[4]);
  assert.equal(result.fetch, null, 'asked for already');
  result = L.supply(result.state, 'c', TWO.slice(2, 4));
  assert.equal(result.fetch, null);
  assert.deepEqual(texts(result.state), ['The old sailor sat', 'The old sailor ran']);
  assert.equal(result.state.next, 5);
  state = feed([TWO[3], TWO[5]], result.state); // one again, and the last
  assert.equal(L.status(state).kind, 'finished');
});

test('what cannot be had is said, and what is here can still be read', () => {
  const early = L.receive(feed(TWO.slice(0, 2)), TWO[3]).state;
  const {state, fetch, warning} = L.supply(early, 'c', null);
  assert.equal(fetch, null);
  assert.match(warning, /could not be had/);
  assert.equal(L.status(state).kind, 'failed');
  assert.deepEqual(texts(state), ['The old__', 'The old__']);
  assert.deepEqual(L.receive(state, TWO[4]).fetch, null, 'not asked for a second time');
});

test('a page that comes late asks for a comparison from its beginning', () => {
  const {state, fetch} = L.receive(L.initial(), TWO[2]);
  assert.deepEqual(fetch, {run: 'c', n: 0});
  assert.deepEqual(texts(L.supply(state, 'c', TWO.slice(0, 3)).state), ['The old sailor_', 'The old__']);
});

test('late messages of the comparison before change nothing', () => {
  const other = {...lanes([lane(0, 'a'), lane(1, 'b')]), run: 'd'};
  const state = feed([...TWO.slice(0, 3), other]);
  const result = L.receive(state, TWO[3]);
  assert.equal(result.state, state);
  assert.equal(result.fetch, null);
});

test('a message that makes no sense is left out, and those after it are read', () => {
  const {state, warning} = L.receive(feed(TWO.slice(0, 2)), turn(2, frame(7, 2, [])));
  assert.match(warning, /there is no lane 7/);
  assert.equal(state.next, 3);
  for (const bad of [null, 7, {k: 'x'}, {k: 'turn'}, {k: 'lanes', run: 'e', n: 0}, {k: 'whole', run: 'e', m: []}]) {
    const result = L.receive(state, bad);
    assert.ok(result.warning, JSON.stringify(bad));
    assert.deepEqual(texts(result.state), texts(state));
  }
});

test('one lane that fails leaves the others whole, and so does one that could not begin', () => {
  const list = [lane(0, 'argmax'), lane(1, 'sample'), {label: 'hot', about: '', group: '', say: 'Too hot.'}];
  const state = feed([
    lanes(list), ...TWO.slice(1, 3), ends(3, over(1, 3, 'failed', 'It broke.')), turn(4, frame(0, 3, [[3, 13, 1]])),
    ends(5, over(0, 4)), {k: 'end', run: 'c', n: 6, state: 'finished'},
  ]);
  assert.deepEqual(state.lanes.map((_, i) => L.laneStatus(state, i).kind), ['finished', 'failed', 'failed']);
  assert.deepEqual([1, 2].map((i) => L.laneStatus(state, i).text), ['It broke.', 'Too hot.']);
  assert.equal(text(state, 0), 'The old sailor sat');
  assert.equal(text(state, 1), 'The old__');
  assert.match(L.status(state).text, /^Finished: 1 lane .*2 lanes failed; the others are whole\.$/);
  assert.deepEqual(values(state), [null, 1, null, null], 'compared among the lanes that there are');
  assert.equal(L.inspect(L.pin(state, {lane: 0, at: 1})).lanes[2], null);
});

test('lanes of different canvases have no positions in common', () => {
  const longer = lane(1, 'b', {tokens: [10, MASK, MASK, MASK, MASK]});
  for (const other of [longer, lane(1, 'b', {tokens: [11, MASK, MASK, MASK]}), lane(1, 'b', {fixed: [0, 1]})]) {
    const state = feed([lanes([lane(0, 'a'), other])]);
    assert.equal(state.oneCanvas, false);
    assert.deepEqual(values(state), []);
    assert.deepEqual(L.partingWords(state), {parted: '', clashed: ''});
  }
  assert.equal(feed([lanes([lane(0, 'alone')])]).oneCanvas, false);
});

test('lanes that begin from different noise differ from the start', () => {
  const head = {noise: 'uniform'};
  const noise = [[10, 11, 13, 15], [10, 11, 14, 15]];
  const state = feed([lanes(noise.map((tokens, i) => lane(i, 'a', {tokens, head})))]);
  assert.equal(L.partingWords(state).parted, 'Lanes differ from the start, token 3.');
  assert.deepEqual(state.partings.clashed, {step: 0, at: 2});
});

const value = (number, error = null, why = '') => ({number, error, why});
const MEASURES = {
  lanes: [
    {distinct_1: value(0.5), bits_per_character: value(3.126, 0.049), perplexity: value(null, null, 'No judge.'),
      nfe: value(3), seconds: value(1.25)},
    {distinct_1: value(null, null, 'No word.'), bits_per_character: value(2, 0.1), nfe: value(3), seconds: value(1)},
  ],
  groups: [{name: 'both', label: '2 lanes', lanes: [0, 1], values: {
    distinct_1: value(0.5), nfe: value(3, 0), perplexity: value(null, null, 'No judge.'), agreement: value(0.25),
    bits_per_character: value(2.5, 0.2, 'Over 1 of 2 lanes, since the others have none.')}}],
};

test('the table shows numbers alike, and says why where there is none', () => {
  const state = feed([...TWO.slice(0, 5), {k: 'measuring', run: 'c', n: 5, done: 1, all: 2},
    {k: 'measures', run: 'c', n: 6, measures: MEASURES, sentences: ['So it is.']}]);
  assert.match(L.status(state).text, /^Measuring, 1 of 2\.$/);
  const {columns, rows, notes} = L.table(state);
  const of = (row, name) => rows[row].cells[columns.findIndex((column) => column.name === name)];
  assert.deepEqual(rows.map((row) => row.label), ['argmax', 'sample', '2 lanes']);
  assert.deepEqual([of(0, 'bits_per_character').text, of(0, 'bits_per_character').error], ['3.13', '0.05']);
  assert.deepEqual(of(1, 'distinct_1'), {text: '–', error: '', why: 'No word.'});
  assert.equal(of(2, 'nfe').error, '', 'all took as many');
  assert.equal(of(0, 'agreement').text, '', 'a lane alone agrees with nobody');
  assert.equal(of(2, 'agreement').text, '0.25');
  assert.ok(notes.includes('– distinct-1 of sample: No word.'));
  assert.ok(notes.includes('– judge perplexity of argmax, 2 lanes: No judge.'), notes.join('\n'));
  assert.ok(notes.includes('bits a character of 2 lanes: Over 1 of 2 lanes, since the others have none.'));
  assert.deepEqual(state.sentences, ['So it is.']);
});

test('before anything is measured the table has its rows already', () => {
  const {columns, rows, notes} = L.table(feed(TWO.slice(0, 1)));
  assert.deepEqual([rows.length, notes.length], [2, 0]);
  assert.ok(rows.every((row) => row.cells.every((cell) => cell.text === '–')));
  assert.ok(!columns.some((column) => column.name === 'agreement'));
});

test('what is waited for and what went wrong is said; an empty view says what to do', () => {
  assert.equal(L.status(L.initial()).kind, 'empty');
  const waiting = L.receive(L.initial(), {k: 'wait', text: 'Loading.'}).state;
  assert.deepEqual(L.status(waiting), {kind: 'loading', text: 'Loading.'});
  const said = L.receive(waiting, {k: 'say', text: 'Too long.'}).state;
  assert.deepEqual(L.status(said), {kind: 'notice', text: 'Too long.'});
  assert.equal(L.status(feed(TWO.slice(0, 1), waiting)).kind, 'running');
  const stopped = feed([...TWO.slice(0, 2), ends(2, over(0, 2, 'stopped'), over(1, 2, 'stopped')),
    {k: 'end', run: 'c', n: 3, state: 'stopped', say: ''}]);
  assert.equal(L.status(stopped).kind, 'stopped');
  assert.equal(L.laneStatus(stopped, 0).text, 'stopped at step 1');
});
