// What the Models tab shows, under Node: `node --test tests/ui/models.test.mjs`.
import assert from 'node:assert/strict';
import {createRequire} from 'node:module';
import {test} from 'node:test';

const require = createRequire(import.meta.url);
const M = require(new URL('../../ddemo/ui/models/model.js', import.meta.url).pathname);

const row = (id, told = {}) => ({id, group: 'catalog', where: 'on the Hub', noise: 'masks', family: 'mdlm', parameters: '',
  bytes: '', context: '', licence: '', memory: '', try: '', ...told});
const ROWS = [
  row('classics-mdm', {group: 'here', where: 'loaded', family: 'masked-lm'}),
  row('someone/small', {memory: 'fits', try: 'A question.'}),
  row('someone/large', {memory: 'does not fit', noise: 'random words'}),
];
const start = M.receive(M.initial(), {n: 1, rows: ROWS});
const ids = (rows) => rows.map(({id}) => id);

test('a search finds rows that have all its words, wherever they are', () => {
  assert.deepEqual(ids(M.found(ROWS, '')), ids(ROWS));
  assert.deepEqual(ids(M.found(ROWS, '  SOMEONE ')), ['someone/small', 'someone/large']);
  assert.deepEqual(ids(M.found(ROWS, 'random someone')), ['someone/large']);
  assert.deepEqual(ids(M.found(ROWS, 'question')), ['someone/small']);
  assert.deepEqual(ids(M.found(ROWS, 'loaded')), ['classics-mdm']);
  assert.deepEqual(ids(M.found(ROWS, 'fits')), ['someone/small'], 'what does not fit does not fit');
  assert.deepEqual(ids(M.found(ROWS, 'does not fit')), ['someone/large']);
  assert.deepEqual(M.found(ROWS, 'nothing'), []);
  assert.equal(M.counted(2, 3), '2 of 3 checkpoints');
});

test('whether it fits is a word and a shape', () => {
  const signs = ['fits', 'tight', 'does not fit', ''].map((memory) => M.verdict(row('a', {memory})));
  assert.equal(new Set(signs.map(({sign}) => sign)).size, 4);
  assert.deepEqual(signs.map(({word}) => word), ['fits', 'tight', 'does not fit', 'not known yet']);
  assert.equal(M.verdict(ROWS[0]).word, 'in memory');
});

test('news of a panel leave the rest of it as it was', () => {
  let state = M.receive(start, {n: 2, panel: {name: 'someone/small', can: {check: true}, about: [['Noise', 'x']], work: null}});
  state = M.receive(state, {n: 3, panel: {name: 'someone/small', work: {kind: 'fetch', text: '1 MB', share: 0.5}}});
  const panel = state.panels['someone/small'];
  assert.deepEqual(panel.about, [['Noise', 'x']]);
  for (const [kind, there] of [['fetch', ['leave']], ['load', ['leave']], ['check', []], ['read', []]]) {
    assert.deepEqual(M.buttons({...panel, work: {kind}}), {there, next: null}, kind);
  }
  assert.equal(M.receive(state, {n: 2, panel: {name: 'someone/small', work: null}}), state, 'an old message says nothing');
  assert.equal(M.receive(state, {}), state);
});

test('a row follows its panel and stays in its group', () => {
  const told = {...row('someone/small'), group: 'named', where: 'on disk'};
  const state = M.receive(start, {n: 2, panel: {name: 'someone/small', row: told}});
  assert.deepEqual(state.rows[1], {...told, group: 'catalog'});
});

test('a name that was typed is a row of its own, until the page has it', () => {
  let state = M.name(start, 'else/where');
  assert.deepEqual(ids(M.listed(state)), ['else/where', ...ids(ROWS)]);
  assert.equal(state.open, 'else/where');
  assert.equal(M.name(state, 'else/where').named.length, 1, 'once');
  const rows = [...ROWS, row('there', {group: 'here'})];
  state = M.receive(state, {n: 2, rows, panel: {name: 'there'}, instead: 'else/where'});
  assert.equal(state.open, 'there');
  assert.deepEqual(ids(M.listed(state)), ids(rows));
});

test('a name that is nothing is refused beside the field, and its row goes', () => {
  const refused = {name: 'no such', say: 'There is none.', kind: 'error'};
  const state = M.receive(M.name(start, 'no such'), {n: 2, refused});
  assert.deepEqual([ids(M.listed(state)), state.open, state.refused.say], [ids(ROWS), null, 'There is none.']);
});

test('what fails is said in the panel, whose work ends', () => {
  let state = M.receive(M.name(start, 'someone/small'), {n: 2, panel: {name: 'someone/small', can: {check: true}}});
  state = M.receive(state, {n: 3, panel: {name: 'someone/small', work: {kind: 'check', text: ''}}});
  state = M.receive(state, {n: 4, refused: {name: 'someone/small', say: 'It is gated.', kind: 'error'}});
  const panel = state.panels['someone/small'];
  assert.deepEqual([panel.work, panel.say, panel.kind, state.open], [null, 'It is gated.', 'error', 'someone/small']);
  assert.equal(state.refused.say, '');
});

test('the next button is the next step', () => {
  const next = (can, loaded = false) => M.buttons({can, loaded}).next;
  assert.equal(next({check: true}), 'check');
  assert.equal(next({check: true, fetch: true}), 'fetch');
  assert.equal(next({load: true, use: true}), 'load');
  assert.equal(next({use: true}, true), 'use');
  assert.deepEqual(M.buttons({}), {there: [], next: null});
});
