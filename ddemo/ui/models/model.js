/* What the Models tab shows, as pure functions: rows that a search finds, messages taken in, the next button. */
const ModelsModel = (() => {
  'use strict';

  const GROUPS = [['named', 'Named by you'], ['here', 'On this page'], ['catalog', 'In the catalog']];
  const SIGNS = {fits: '✓', tight: '◐', 'does not fit': '✕'}; // shapes, so that colour is not needed
  const STOPPABLE = ['fetch', 'load'];
  const SOUGHT = ['id', 'where', 'noise', 'family', 'licence', 'memory', 'try'];

  const initial = () => ({n: 0, rows: [], named: [], panels: {}, open: null, refused: {name: '', say: '', kind: ''}});

  /* The rows in the order in which they are listed. What the page lists by now is no longer one that was named. */
  function listed(state) {
    const known = new Set(state.rows.map((row) => row.id));
    return [...state.named.filter((row) => !known.has(row.id)), ...state.rows];
  }

  /* Rows that have all words of a search, wherever they have them. */
  function found(rows, search) {
    const words = search.toLowerCase().split(/\s+/).filter(Boolean);
    return rows.filter((row) => {
      const text = SOUGHT.map((part) => row[part] || '').join(' ').toLowerCase();
      return words.every((word) => (word === 'fits' ? row.memory === 'fits' : text.includes(word)));
    });
  }

  function counted(shown, all) {
    if (shown === all) return `${all} checkpoints`;
    return `${shown} of ${all} checkpoints`;
  }

  const blank = (id) => ({id, group: 'named', where: '', noise: '', family: '', parameters: '', bytes: '', context: '',
    licence: '', memory: '', try: ''});

  /* A name that was typed becomes a row and is opened. */
  function name(state, typed) {
    const there = listed(state).some((row) => row.id === typed);
    const named = there ? state.named : [blank(typed), ...state.named];
    return {...state, named, open: typed, refused: {name: '', say: '', kind: ''}};
  }

  function merged(panels, told) {
    return {...panels, [told.name]: {...(panels[told.name] || {}), ...told}};
  }

  /* A message of the server (`ddemo.ui.models.desk.say`) taken in; an older one changes nothing. */
  function receive(state, message) {
    if (!message || !(message.n > state.n)) return state;
    let {rows, named, panels, open} = state;
    let refused = {name: '', say: '', kind: ''};
    if (message.rows) rows = message.rows;
    if (message.panel) {
      const told = message.panel;
      panels = merged(panels, told);
      if (told.row) {
        const update = (row) => (row.id === told.name ? {...row, ...told.row, group: row.group} : row);
        rows = rows.map(update);
        named = named.map(update);
      }
    }
    if (message.instead && message.instead !== message.panel.name) {
      const {[message.instead]: gone, ...others} = panels;
      panels = others;
      named = named.filter((row) => row.id !== message.instead);
      if (open === message.instead) open = message.panel.name;
    }
    if (message.refused) {
      const {name: of, say, kind} = message.refused;
      const known = panels[of] && panels[of].can;
      if (known || rows.some((row) => row.id === of)) panels = merged(panels, {name: of, work: null, say, kind});
      else { // it was named, and is nothing
        refused = message.refused;
        named = named.filter((row) => row.id !== of);
        if (open === of) open = null;
      }
    }
    return {...state, n: message.n, rows, named, panels, open, refused};
  }

  /* Buttons that are there, in their order, and which of them is the next step. */
  function buttons(panel) {
    const can = panel.can || {}, work = panel.work || null;
    if (work) return {there: STOPPABLE.includes(work.kind) ? ['leave'] : [], next: null};
    const there = ['check', 'fetch', 'load', 'use'].filter((what) => can[what]);
    const next = panel.loaded ? 'use' : ['load', 'fetch', 'check', 'use'].find((what) => can[what]) || null;
    return {there, next};
  }

  /* What a cell says where nothing is known. */
  const told = (row, part) => row[part] || (row.group === 'named' ? 'not known yet' : 'not stated');

  /* A word and a sign on whether it fits. */
  function verdict(row) {
    if (row.where === 'loaded') return {sign: '●', word: 'in memory', kind: 'loaded'};
    const kind = row.memory || 'unknown';
    return {sign: SIGNS[kind] || '?', word: row.memory || 'not known yet', kind: kind.replaceAll(' ', '-')};
  }

  return {GROUPS, initial, listed, found, counted, name, receive, buttons, told, verdict};
})();

if (typeof module !== 'undefined') module.exports = ModelsModel;
