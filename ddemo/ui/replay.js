/* What a replay has besides the components: the run that stands in the file, and light or dark by hand. */
const value = document.getElementById('replay-value').textContent;

document.querySelector('.ddr-theme').addEventListener('click', () => {
  const {classList} = document.body;
  const system = classList.contains('dd-auto') && matchMedia('(prefers-color-scheme: dark)').matches;
  const dark = system || classList.contains('dark');
  classList.remove('dd-auto');
  classList.toggle('dark', !dark);
});
