/**
 * The last line of a CI run: `N passed, N failed`, from vitest's JSON report and two exit statuses.
 *
 *   node scripts/ci-summary.mjs REPORT TEST-STATUS CHECK-STATUS
 *
 * Skipped tests count as neither. What failed without being a test counts as one failure: a test
 * file that did not load, a run that broke without a failed test, `npm run check`. So the line
 * never says `0 failed` when something did, and the exit status agrees with it.
 */

import { readFileSync } from 'node:fs';

const [reportPath, testStatus, checkStatus] = process.argv.slice(2);

function readReport() {
  try {
    return JSON.parse(readFileSync(reportPath, 'utf8'));
  } catch {
    return { numPassedTests: 0, testResults: [] };
  }
}

const report = readReport();
let failed = 0;
for (const file of report.testResults) {
  const failures = file.assertionResults.filter((test) => test.status === 'failed').length;
  failed += failures > 0 ? failures : Number(file.status === 'failed');
}
if (failed === 0 && testStatus !== '0') failed += 1;
if (checkStatus !== '0') failed += 1;

process.stdout.write(`${report.numPassedTests} passed, ${failed} failed\n`);
process.exitCode = failed === 0 ? 0 : 1;
