/* Taking the run on show home: files, link and code, and opening what was taken.
 *
 * mountTakeHome(element, host): `element` contains panel.html. host = {
 *   trigger(name, data)   tells Python: "take" {run, what, address, asked}, "open_file" {name, text, asked},
 *                         "open_link" {fragment}
 *   watch(fn)             calls fn with each answer, a JSON string {k, asked, say, ...}
 *   largest               characters of the largest file that is read
 * }
 * Hears `ddemo:shown` {run, shown} of the canvas. Files are made here from the server's answer: the server keeps
 * none. Text reaches the page through textContent and value only.
 */
function mountTakeHome(element, host) {
  'use strict';

  const ANSWER_WAIT_MS = 60000, COPIED_MS = 1500;
  const NO_ANSWER = 'The server has not answered yet: try once more.';
  const BUSY = {trace: 'Making the file…', replay: 'Making the page…', link: 'Making the link…', code: 'Writing the code…'};
  const KINDS = Object.keys(BUSY);
  const ui = {};
  element.querySelectorAll('[data-ddt]').forEach((node) => { ui[node.dataset.ddt] = node; });

  let run = null, status = ''; // what the canvas shows
  let about = null; // the run that the line under the buttons speaks of
  let asked = 0, waiting = 0; // questions are numbered, so that a late answer is told from the one awaited

  function say(text, kind = '') {
    ui.line.textContent = text;
    ui.line.dataset.kind = kind;
  }

  function draw() {
    const off = run === null || status === 'running' || waiting > 0;
    for (const what of KINDS) ui[what].disabled = off;
    ui.open.disabled = status === 'running' || waiting > 0;
  }

  function putAway() {
    ui.address.hidden = true;
    ui.programs.hidden = true;
    ui.code.setAttribute('aria-expanded', 'false');
  }

  function ask(event, data, words) {
    asked += 1;
    const mine = asked;
    waiting = mine;
    putAway();
    say(words);
    draw();
    host.trigger(event, {...data, asked: mine});
    setTimeout(() => { if (waiting === mine) answered(`{"k": "refused", "asked": ${mine}, "say": "${NO_ANSWER}"}`); },
      ANSWER_WAIT_MS);
  }

  // ---------------------------------------------------------------- answers

  const SHOW = {
    refused: ({say: words}) => say(words, 'refused'),
    file({name, type, content, say: words}) {
      const link = document.createElement('a');
      link.href = URL.createObjectURL(new Blob([content], {type: `${type};charset=utf-8`}));
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
      say(words);
    },
    async link({fragment, say: words}) {
      history.replaceState(history.state, '', `${location.pathname}${location.search}${fragment}`);
      ui.address.value = `${location.origin}${location.pathname}${fragment}`;
      ui.address.hidden = false;
      const done = await copy(ui.address.value);
      say(`${done ? 'The link is in the address bar and copied.' : 'This is the link; copying is not allowed here.'} ${words}`);
      if (!done) ui.address.select();
    },
    code({package: first, client, note}) {
      ui.note.textContent = note;
      ui.package.textContent = first;
      ui.client.textContent = client;
      ui.programs.hidden = false;
      ui.code.setAttribute('aria-expanded', 'true');
      say('');
    },
    opened({say: words}) {
      say(words);
      const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
      const canvas = document.getElementById('canvas');
      if (canvas) canvas.scrollIntoView({block: 'start', behavior: calm ? 'auto' : 'smooth'});
    },
  };

  function answered(text) {
    const answer = JSON.parse(text || '{}');
    if (!(answer.k in SHOW) || answer.asked !== waiting) return;
    waiting = 0;
    about = answer.run || run;
    draw();
    SHOW[answer.k](answer);
  }

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const area = document.createElement('textarea'); // pages served without https have no clipboard
      area.value = text;
      area.style.position = 'fixed';
      area.style.opacity = '0';
      element.append(area);
      area.select();
      const done = document.execCommand('copy');
      area.remove();
      return done;
    }
  }

  // ---------------------------------------------------------------- hands

  for (const what of KINDS) {
    ui[what].addEventListener('click', () => {
      if (what === 'code' && !ui.programs.hidden) {
        putAway();
        return;
      }
      const address = `${location.origin}${location.pathname}`;
      ask('take', {run, what, address}, BUSY[what]);
    });
  }

  for (const name of ['package', 'client']) {
    const button = ui[`copy-${name}`];
    button.addEventListener('click', async () => {
      const done = await copy(ui[name].textContent);
      button.textContent = done ? 'Copied' : 'Not allowed';
      setTimeout(() => { button.textContent = 'Copy'; }, COPIED_MS);
    });
  }

  ui.programs.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    putAway();
    ui.code.focus();
  });

  ui.open.addEventListener('click', () => ui.file.click());
  ui.file.addEventListener('change', async () => {
    const [file] = ui.file.files;
    ui.file.value = ''; // the same file can be chosen again
    if (!file) return;
    if (file.size > host.largest) {
      putAway();
      say(`${file.name} is larger than any trace that is read here (${Math.floor(host.largest / 1e6)} MB).`, 'refused');
      return;
    }
    let text = '';
    try {
      text = await file.text();
    } catch {
      say(`${file.name} could not be read.`, 'refused');
      return;
    }
    ask('open_file', {name: file.name, text}, `Opening ${file.name}…`);
  });

  // ---------------------------------------------------------------- the page around

  // Gradio may throw the block away and make another; what listens outside it must then stop.
  function whileMounted(listener) {
    return function listen(event) {
      if (element.isConnected) listener(event);
      else event.currentTarget.removeEventListener(event.type, listen);
    };
  }

  document.addEventListener('ddemo:shown', whileMounted((event) => {
    const {shown = null} = event.detail || {}, id = shown ? shown.id : null;
    if (id === run && (shown ? shown.status : '') === status) return;
    run = id;
    status = shown ? shown.status : '';
    if (!waiting && about !== null && id !== about) {
      about = null;
      putAway();
      say('');
    }
    draw();
  }));

  function openLink() {
    if (location.hash.startsWith('#run=')) host.trigger('open_link', {fragment: location.hash});
  }

  window.addEventListener('hashchange', whileMounted(openLink));
  host.watch(answered);
  draw();
  document.dispatchEvent(new CustomEvent('ddemo:ask', {detail: {}}));
  openLink();
}
