// Import rules over the built JavaScript, made from the one layer table (test/rules/layers.ts). What is imported as a type only is gone there: test/rules/imports.test.ts
// applies the same table to the sources. Run through `npm run rules`.
const { LAYERS } = require('./build/test/rules/layers.js');

/** A pattern over built files for a path of the sources. */
function built(path) {
  const escaped = path.replace(/\.ts$/, '.js').replaceAll('.', '\\.');
  return path.endsWith('/') ? `^build/${escaped}` : `^build/${escaped}$`;
}

/** Files of more specific rows are not this row's. */
function specificBelow(layer) {
  return LAYERS.filter((other) => other !== layer)
    .flatMap((other) => other.paths)
    .filter((path) => layer.paths.some((own) => own.endsWith('/') && path.startsWith(own)))
    .map(built);
}

const layers = LAYERS.filter((layer) => layer.mayImport !== 'everything').flatMap((layer) => {
  const name = layer.name.replaceAll(' ', '-');
  const from = { path: layer.paths.map(built), pathNot: specificBelow(layer) };
  const allowed = [...layer.paths, ...layer.mayImport].map(built);
  const packages = (layer.packages ?? []).map((one) => `^node_modules/${one}/`);
  const rules = [
    {
      name: `${name}-layer`,
      severity: 'error',
      from,
      to: {
        path: '^build/',
        pathNot: allowed,
        dependencyTypesNot: ['npm', 'npm-dev', 'npm-optional', 'core'],
      },
    },
    { name: `${name}-packages`, severity: 'error', from, to: { path: '^node_modules/', pathNot: packages } },
  ];
  if (layer.pure)
    rules.push({ name: `${name}-pure`, severity: 'error', from, to: { dependencyTypes: ['core'] } });
  return rules;
});

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-missing-files', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'no-test-code',
      severity: 'error',
      from: { path: '^build/(src|transports)/' },
      to: { path: '^build/(test|bench)/' },
    },
    {
      name: 'no-development-packages',
      severity: 'error',
      from: { path: '^build/(src|transports)/' },
      to: { dependencyTypes: ['npm-dev'] },
    },
    ...layers,
  ],
  options: {
    moduleSystems: ['es6'],
    parser: 'acorn',
    doNotFollow: { path: '^node_modules/' },
    exclude: { path: '^build/wasm/|\\.d\\.ts$' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default'] },
  },
};
